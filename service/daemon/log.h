// SPDX-License-Identifier: LGPL-2.1-or-later
//
// One line for the journal, which reads the level from the prefix (sd-daemon(3)). An error is logged once, by whoever
// decides what becomes of it.
#pragma once

#include <cstdio>

#include <fmt/format.h>

#include <systemd/sd-daemon.h>

namespace abey::daemon {

template <class... Args> void log_error(fmt::format_string<Args...> format, Args &&...args) {
    fmt::print(stderr, SD_ERR "{}\n", fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args> void log_warning(fmt::format_string<Args...> format, Args &&...args) {
    fmt::print(stderr, SD_WARNING "{}\n", fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args> void log_info(fmt::format_string<Args...> format, Args &&...args) {
    fmt::print(stderr, SD_INFO "{}\n", fmt::format(format, std::forward<Args>(args)...));
}

} // namespace abey::daemon
