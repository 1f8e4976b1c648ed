// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The names of org.abeyance1.xml, and what may stand in them. Everything here is pure.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace abey::bus {

inline constexpr const char *service_name = "org.abeyance1";
inline constexpr const char *manager_path = "/org/abeyance1";
inline constexpr const char *job_prefix = "/org/abeyance1/job";
inline constexpr const char *checkpoint_prefix = "/org/abeyance1/checkpoint";
inline constexpr const char *manager_interface = "org.abeyance1.Manager";
inline constexpr const char *job_interface = "org.abeyance1.Job";
inline constexpr const char *checkpoint_interface = "org.abeyance1.Checkpoint";

namespace error {
inline constexpr const char *access_denied = "org.freedesktop.DBus.Error.AccessDenied";
inline constexpr const char *interaction_required = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
inline constexpr const char *no_such_session = "org.abeyance1.Error.NoSuchSession";
inline constexpr const char *no_such_checkpoint = "org.abeyance1.Error.NoSuchCheckpoint";
inline constexpr const char *no_such_job = "org.abeyance1.Error.NoSuchJob";
inline constexpr const char *busy = "org.abeyance1.Error.Busy";
inline constexpr const char *too_many_jobs = "org.abeyance1.Error.TooManyJobs";
inline constexpr const char *invalid_argument = "org.abeyance1.Error.InvalidArgument";
inline constexpr const char *not_cancelable = "org.abeyance1.Error.NotCancelable";
inline constexpr const char *pinned = "org.abeyance1.Error.Pinned";
inline constexpr const char *policy_invalid = "org.abeyance1.Error.PolicyInvalid";
inline constexpr const char *quota_exceeded = "org.abeyance1.Error.QuotaExceeded";
inline constexpr const char *not_suspendable = "org.abeyance1.Error.NotSuspendable";
inline constexpr const char *diverged = "org.abeyance1.Error.Diverged";
inline constexpr const char *failed = "org.abeyance1.Error.Failed";
// Of a failure by its last word, as a job's outcome has it; any other is just a failure.
const char *of_failure(std::string_view word);
} // namespace error

// A logind session id: letters and digits, as logind makes them ("3", "c12").
bool is_session_id(std::string_view text);
// A checkpoint id: letters, digits, "-", "_" and ".", not beginning with a dot, so that it is a plain file name.
bool is_checkpoint_id(std::string_view text);

std::string job_path(uint32_t number);
std::string checkpoint_path(std::string_view id);
Result<uint32_t> job_number(std::string_view path);
Result<std::string> checkpoint_id(std::string_view path);

bool is_utf8(std::string_view bytes);

// Text fit for a bus message or a terminal: what is no valid UTF-8 and what would steer a terminal is shown as "\xNN".
std::string printable(std::string_view bytes);
// The same of the beginning of what somebody has sent, so that an error is no longer than a line.
std::string shortened(std::string_view bytes);

} // namespace abey::bus
