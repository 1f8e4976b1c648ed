// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What sets a task apart from the process that will make it again, and that process could not set: a confinement, or
// threads which do not share what threads share.
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/procfs.h"

#include <string>
#include <string_view>

namespace abey::capture {

// Why a task under this label of a security module (/proc/PID/attr/current; apparmor(7), proc_pid_attr(5)) would come
// back less confined than it was; empty: it would not. Labels end in a NUL or newline, or not at all; both empty: there
// is no such module.
std::string lost_confinement(std::string_view label, std::string_view own_label);

// Adds a finding for each, fatal ones but for that about core scheduling.
void check_apart(Context &context, const os::ProcStat &stat);

} // namespace abey::capture
