// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What must happen even when this process is killed.
#pragma once

#include "engine/os/fd.h"

#include <functional>
#include <span>
#include <vector>

#include <sys/types.h>

namespace abey::os {

// Closes every descriptor of this process but these.
void close_all_but(std::span<const int> sorted) noexcept;

// A child that does something at the end of its maker, however that comes, unless it was dismissed before. It blocks
// all signals: a Ctrl-C is for its maker, whose end it is to see.
class Guard {
  public:
    // `act` runs in the child, which may have been forked by anything: system calls only. `kept` are the descriptors
    // that the child has; all others are closed there when this returns.
    static Result<Guard> post(std::vector<int> kept, const std::function<void()> &act);
    Guard() = default;
    Guard(Guard &&other) noexcept : line_(std::move(other.line_)), child_(std::exchange(other.child_, 0)) {}
    Guard &operator=(Guard &&) = delete;
    Guard(const Guard &) = delete;
    Guard &operator=(const Guard &) = delete;
    // A guard that was not dismissed acts now; its end is waited for.
    ~Guard();

    // Nothing is to be done any more.
    void dismiss() noexcept;
    // It acts when this object ends, or now when it has, and nobody waits for that.
    void leave_alone() noexcept { child_ = 0; }

  private:
    Fd line_; // a pipe to the guard: it ends with us
    pid_t child_ = 0;
};

} // namespace abey::os
