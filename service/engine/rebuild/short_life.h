// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A process that exists only so that something of it can be opened: it stands for one that had ended before the
// checkpoint.
#pragma once

#include "engine/os/result.h"

#include <csignal>
#include <utility>

#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::rebuild {

class ShortLife {
  public:
    // With this id (clone3(2), set_tid) where it is free; 0: any.
    static Result<ShortLife> begin(int wanted) {
        clone_args arguments = {};
        arguments.exit_signal = SIGCHLD;
        if (wanted > 0) {
            arguments.set_tid = reinterpret_cast<uint64_t>(&wanted);
            arguments.set_tid_size = 1;
        }
        long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
        if (pid < 0 && wanted > 0) {
            arguments.set_tid = arguments.set_tid_size = 0;
            pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
        }
        if (pid < 0)
            return fail(errno, "cannot make a process");
        if (pid == 0)
            for (;;)
                ::syscall(SYS_pause);
        return ShortLife(static_cast<int>(pid));
    }
    ShortLife(ShortLife &&other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
    ShortLife &operator=(ShortLife &&) = delete;
    ShortLife(const ShortLife &) = delete;
    ShortLife &operator=(const ShortLife &) = delete;
    ~ShortLife() {
        if (pid_ == 0)
            return;
        (void)::kill(pid_, SIGKILL);
        (void)::waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] int pid() const { return pid_; }

  private:
    explicit ShortLife(int pid) : pid_(pid) {}
    int pid_;
};

} // namespace abey::rebuild
