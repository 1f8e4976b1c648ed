// SPDX-License-Identifier: LGPL-2.1-or-later
//
// When an interrupted sleep of another task is to end. The kernel keeps that in the task's restart_block
// (include/linux/restart_block.h) and shows it nobody but us (task_reader.h).
#pragma once

#include "engine/os/task_reader.h"

#include <cstdint>

namespace abey::os {

// What is meaningful depends on the call that was interrupted.
struct RestartBlock {
    uint64_t futex_address = 0, futex_end = 0; // CLOCK_MONOTONIC, nanoseconds
    int32_t sleep_clock = 0;
    uint64_t sleep_address = 0; // where the program wants to be told the rest
    uint64_t sleep_end = 0;     // of that clock, nanoseconds
    uint32_t futex_value = 0;
    uint64_t poll_address = 0;
    uint32_t poll_count = 0; // of descriptors
    bool poll_has_end = false;
    int64_t poll_seconds = 0, poll_nanoseconds = 0; // CLOCK_MONOTONIC
};

class RestartBlocks {
  public:
    // ENOTSUP: a kernel without BTF, or one that forbids to read its memory (kernel_lockdown(7)). Times are those of
    // the initial time namespace.
    static Result<RestartBlocks> open();
    // Of a thread, while it stands still.
    Result<RestartBlock> of(int tid) const;

  private:
    struct Offsets { // in task_struct's restart_block
        uint32_t futex_address, futex_value, futex_end, sleep_clock, sleep_address, sleep_end, poll_address, poll_count,
            poll_has_end, poll_seconds, poll_nanoseconds;
    };
    RestartBlocks(TaskReader reader, const Offsets &offsets) : reader_(std::move(reader)), offsets_(offsets) {}
    TaskReader reader_;
    Offsets offsets_;
};

} // namespace abey::os
