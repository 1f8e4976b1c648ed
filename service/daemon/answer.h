// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the daemon answers to a call: a value, or an error with its name on the bus.
#pragma once

#include "dbus/names.h"
#include "engine/os/result.h"
#include "job/job.h"

#include <expected>
#include <string>
#include <string_view>

namespace abey::daemon {

struct Refusal {
    const char *name; // one of bus::error
    std::string text; // one line
};

// Something else is at work there, or everywhere: it can be tried again when that has ended.
inline bool is_for_now(const Refusal &refusal) {
    const std::string_view name(refusal.name);
    return name == bus::error::busy || name == bus::error::too_many_jobs;
}

template <class T = void> using Answer = std::expected<T, Refusal>;

template <class... Args>
[[nodiscard]] std::unexpected<Refusal> refuse(const char *name, fmt::format_string<Args...> format, Args &&...args) {
    return std::unexpected(Refusal{name, fmt::format(format, std::forward<Args>(args)...)});
}

// A failure of our own (not the caller's mistake) as an answer.
[[nodiscard]] inline std::unexpected<Refusal> refuse_for(const Error &error) {
    auto outcome = job::failed(error);
    return std::unexpected(Refusal{bus::error::of_failure(outcome.error), std::move(outcome.message)});
}

} // namespace abey::daemon
