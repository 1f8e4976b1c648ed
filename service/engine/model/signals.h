// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <array>

namespace abey::model {

// One rt_sigaction(2), in the kernel's layout.
struct SignalAction {
    uint64_t handler = 0; // 0 default, 1 ignored
    uint64_t flags = 0;
    uint64_t restorer = 0;
    uint64_t mask = 0;

    bool operator==(const SignalAction &) const = default;
};

// sigaltstack(2)
struct AlternateStack {
    uint64_t address = 0;
    int32_t flags = 2; // SS_DISABLE
    uint64_t size = 0;
};

// One of the three timers of setitimer(2); microseconds.
struct IntervalTimer {
    uint64_t interval_us = 0;
    uint64_t value_us = 0; // 0: not armed
};

// timer_create(2). `value` is the time left, 0 when not armed.
struct PosixTimer {
    int32_t id = 0;
    int32_t clock = 0;
    int32_t signal = 0;
    int32_t notify = 0;     // sigev_notify as in /proc/PID/timers
    int32_t notify_tid = 0; // with SIGEV_THREAD_ID
    uint64_t sigval = 0;
    int32_t overrun = 0;
    Time interval;
    Time value;
};

} // namespace abey::model
