// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a restored tree gets of its own when the machine is not as it was: clocks that go on after a reboot, pids when
// the old ones are taken.
#pragma once

#include "engine/rebuild/husk.h"

#include <optional>

namespace abey::rebuild {

// After a reboot, children of this process shall see CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from `saved`
// (time_namespaces(7)). Nothing is done when the clocks are ahead of that in the same boot. Call before any husk is
// made.
Result<> continue_clocks(const model::Clocks &saved, const std::string &saved_boot_id);

// Children that are made from now on have our own clocks again. Kernels such as 6.1 start no thread in a process whose
// children would have others (kernel/fork.c, copy_process).
Result<> end_of_other_clocks();

// The first id of the tree that somebody else has: a process, thread, group or session. 0: all are free.
int taken_id(const model::Tree &tree);

// A process that is pid 1 of a new pid namespace, and reaps there. It waits until let_go(); then it mounts a /proc of
// the namespace's and ends when it has no children any more, with the exit status of `main_child`.
class Reaper {
  public:
    // This process gets a mount namespace of its own first, which the reaper and the tree share.
    static Result<Reaper> make(const Workshop &shop, int main_child);
    Reaper(Reaper &&) noexcept = default;
    Reaper &operator=(Reaper &&) = delete;
    Reaper(const Reaper &) = delete;
    Reaper &operator=(const Reaper &) = delete;
    ~Reaper();

    Husk &husk() { return *husk_; }
    [[nodiscard]] int pid() const { return husk_->pid(); }
    Result<> let_go();

  private:
    Reaper() = default;
    std::unique_ptr<Husk> husk_;
    user_regs_struct registers_ = {};
};

} // namespace abey::rebuild
