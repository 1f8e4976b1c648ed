// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Is a task restricted by landlock(7)? Nobody can read such restrictions, and the kernel tells of none. But whoever is
// restricted may not look at tasks that are not (security/landlock/task.c, hook_ptrace_access_check), where nothing
// else would hinder it.
#pragma once

#include "engine/os/fd.h"

#include <map>
#include <tuple>

namespace abey::capture {

// A process that has ended, had the ids of a task and no capabilities, and that nobody has waited for yet: it has no
// memory, no descriptors, and no restrictions that we do not have.
class Witness {
  public:
    struct Place {
        uint32_t uid = 0, gid = 0;                    // real ones, as we see them
        int door = 0;                                 // a task in whose user and pid namespace it is
        bool other_users = false, other_pids = false; // than ours
    };
    static Result<Witness> make(const Place &place);
    Witness(Witness &&other) noexcept : pid_(std::exchange(other.pid_, 0)), own_pid_(other.own_pid_) {}
    Witness &operator=(Witness &&) = delete;
    Witness(const Witness &) = delete;
    Witness &operator=(const Witness &) = delete;
    ~Witness();

    [[nodiscard]] int own_pid() const { return own_pid_; } // as the task knows it

  private:
    explicit Witness(int pid) : pid_(pid) {}
    int pid_;
    int own_pid_ = 0;
};

// Context::state: one witness for all tasks of the same ids in the same namespaces.
class Witnesses {
  public:
    Witnesses();
    // The id of a process that a task with these ids may ask about by get_robust_list(2), unless it is restricted. 0:
    // this kernel has no landlock(7).
    Result<int> for_task(int door, uint32_t uid, uint32_t gid);

  private:
    bool possible_;
    uint64_t own_users_ = 0, own_pids_ = 0; // inodes of the namespaces
    int last_door_ = 0;
    std::pair<uint64_t, uint64_t> last_place_;
    std::map<std::tuple<uint64_t, uint64_t, uint32_t, uint32_t>, Witness> known_;
};

} // namespace abey::capture
