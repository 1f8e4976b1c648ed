// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace abey::os {

// Tests kill the worker where it hurts: by the name of the point in the environment as ABEY_FAULT.
inline void fault_point(std::string_view name) {
    const char *wanted = std::getenv("ABEY_FAULT"); // NOLINT(concurrency-mt-unsafe): nobody changes the environment
    if (wanted != nullptr && name == wanted)
        (void)std::raise(SIGKILL);
}

} // namespace abey::os
