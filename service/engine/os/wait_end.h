// SPDX-License-Identifier: LGPL-2.1-or-later
//
// When a thread's wait is to end that the kernel does not begin again by itself (epoll_wait(2), sigtimedwait(2),
// semtimedop(2)). The kernel keeps that only while the thread waits, on the thread's kernel stack: the struct
// hrtimer_sleeper of schedule_hrtimeout_range_clock() (include/linux/hrtimer.h).
#pragma once

#include "engine/os/task_reader.h"

#include <optional>

namespace abey::os {

class WaitEnds {
  public:
    // ENOTSUP: a kernel without BTF, or one that forbids to read its memory (kernel_lockdown(7)).
    static Result<WaitEnds> open();
    // CLOCK_MONOTONIC of the initial time namespace, in nanoseconds; nothing: it does not wait for a time. Only true of
    // a thread that has not run meanwhile.
    Result<std::optional<uint64_t>> of(int tid) const;

  private:
    struct Offsets { // in struct hrtimer_sleeper
        uint32_t task, end, soft_end, state;
    };
    WaitEnds(TaskReader reader, const Offsets &offsets) : reader_(std::move(reader)), offsets_(offsets) {}
    TaskReader reader_;
    Offsets offsets_;
};

} // namespace abey::os
