// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace abey::os {

// Tests kill the worker where it hurts: by the name of the point in the environment as ABEY_FAULT. "stop:" before it
// stops the worker there, so that the whole machine can fail at that point.
inline void fault_point(std::string_view name) {
    const char *value = std::getenv("ABEY_FAULT"); // NOLINT(concurrency-mt-unsafe): nobody changes the environment
    std::string_view wanted = value != nullptr ? value : "";
    const bool stop = wanted.starts_with("stop:");
    wanted.remove_prefix(stop ? 5 : 0);
    if (!wanted.empty() && name == wanted)
        (void)std::raise(stop ? SIGSTOP : SIGKILL);
}

} // namespace abey::os
