// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Times of the model, and those of the system calls.
#pragma once

#include "engine/model/base.h"

#include <ctime>

namespace abey::engine {

inline timespec to_timespec(const model::Time &time) {
    return {.tv_sec = time.seconds, .tv_nsec = static_cast<long>(time.nanoseconds)};
}

inline model::Time to_time(const timespec &time) {
    return {.seconds = time.tv_sec, .nanoseconds = static_cast<uint32_t>(time.tv_nsec)};
}

} // namespace abey::engine
