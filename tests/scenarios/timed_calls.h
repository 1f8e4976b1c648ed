// SPDX-License-Identifier: LGPL-2.1-or-later
// Calls that wait for a given time, and whether a checkpoint in the middle of it has made them longer or shorter.
#pragma once

#include "scenario.h"

#include <atomic>

namespace timed_calls {

inline constexpr double asked = 8;        // seconds
inline constexpr double before = 4;       // of them have passed when we are ready
inline constexpr double late = asked + 2; // begun anew it would be more than asked + before

inline std::atomic<int> entered = 0;
inline std::atomic<double> awake = 0; // seconds that we have run

inline double now() {
    timespec time = {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Looks at the clock all the time: a gap is a time in which we were not there.
inline void *watch(void *) {
    for (double last = now();;) {
        ::usleep(5000);
        const double time = now();
        awake = awake + (time - last < 0.3 ? time - last : 0);
        last = time;
    }
}

// The call, which has to end of itself.
template <class Call> void timed(const char *what, Call call) {
    const double begin = now(), awake_then = awake;
    ++entered;
    call();
    const double waited = now() - begin, ran = awake - awake_then;
    if (waited < asked)
        scenario::failed(__FILE__, __LINE__, std::string(what) + " ended after " + std::to_string(waited) + " s");
    if (ran > late)
        scenario::failed(__FILE__, __LINE__, std::string(what) + " took " + std::to_string(ran) + " s");
}

inline const timespec time_asked = {static_cast<time_t>(asked), 0};

} // namespace timed_calls
