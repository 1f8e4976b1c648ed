// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the kernel keeps of another task and shows nobody: a BPF iterator over tasks (bpf(2),
// Documentation/bpf/bpf_iterators.rst) can read it, by the kernel's own description of its structures.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/kernel_types.h"

#include <cstdint>
#include <string>

namespace abey::os {

class TaskReader {
  public:
    // Of part of struct task_struct. ENOTSUP: a kernel that forbids to read its memory (kernel_lockdown(7)).
    static Result<TaskReader> of_member(const KernelTypes &types, std::string_view member, uint32_t most);
    // The address of the task_struct (8 bytes), then `stack_bytes` of the task's kernel stack, from where it has left
    // the processor.
    static constexpr size_t stack_bytes = 2048;
    static Result<TaskReader> of_stack(const KernelTypes &types);

    // POSIX timers of its process (struct k_itimer), each as its id and, from byte 8 on, how often it has run over
    // since its signal was queued (int64, -1: not at all); the newest first. What follows the last one means nothing.
    static constexpr size_t most_timers = 32, timer_size = 16;
    static Result<TaskReader> of_timers(const KernelTypes &types);

    // The fanotify(7) group that is the task's descriptor `fd`: its flags (those of the kernel's own, too), and the
    // user who has made it, 4 bytes each.
    static constexpr size_t group_size = 8;
    static Result<TaskReader> of_group(const KernelTypes &types, int fd);

    // ESRCH: there is no such thread.
    Result<std::string> read(int tid) const;

  private:
    TaskReader(Fd program, size_t size) : program_(std::move(program)), size_(size) {}
    Fd program_;
    size_t size_;
};

} // namespace abey::os
