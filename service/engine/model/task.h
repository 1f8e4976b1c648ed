// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/thread.h"

namespace abey::model {

enum class TaskState : uint8_t { running, stopped, zombie };

struct ResourceLimit {
    uint64_t soft = ~0ULL; // ~0: unlimited
    uint64_t hard = ~0ULL;
};

// One process. threads[0] is the thread group leader; a zombie has no threads and no objects.
struct Task {
    int32_t pid = 0;
    int32_t parent = 0; // 0: its parent is outside the tree, it is a root
    int32_t process_group = 0;
    // Its leader may be dead, or alive but outside the tree: Debian's login(1) leads the session of the shell that it
    // starts. No new process can join that one, and a terminal is lost with its session's leader: on restore the
    // members need a living leader of their own (the oldest root among them).
    int32_t session = 0;
    TaskState state = TaskState::running;
    int32_t exit_code = 0;    // zombie, or of the first thread when it has ended: as wait(2) tells it
    int32_t stop_signal = 0;  // stopped: the signal that stopped it
    int32_t exit_signal = 17; // what its parent gets at its end, SIGCHLD ordinarily
    Bytes comm;
    std::vector<Thread> threads;

    ObjRef address_space = 0;
    ObjRef descriptors = 0;
    ObjRef fs = 0;
    ObjRef terminal = 0; // controlling terminal

    std::vector<SignalAction> actions; // index signal - 1, 64 of them
    std::vector<Bytes> pending;        // shared pending siginfo_t, oldest first
    std::array<IntervalTimer, 3> interval_timers;
    std::vector<PosixTimer> posix_timers;
    std::array<ResourceLimit, 16> limits; // by RLIMIT_* number
    uint32_t personality = 0;
    int32_t oom_score_adj = 0;
    uint32_t login_uid = ~0U;
    int32_t dumpable = 1;
    bool child_subreaper = false;
    bool thp_disabled = false;
    bool thp_when_advised = false; // with the former: but for memory that asks for it (PR_THP_DISABLE_EXCEPT_ADVISED)
    int32_t autogroup_nice = 0;    // of the scheduler's group of its session (sched(7))
    uint32_t membarrier = 0;       // registrations, as bits of the commands that make them (membarrier(2))
    uint32_t coredump_filter = 0;
    int32_t memory_deny_write_execute = 0; // PR_GET_MDWE (prctl(2))
    bool memory_merge = false;             // PR_GET_MEMORY_MERGE
    Bytes cgroup;                          // below the checkpointed cgroup, "" for the cgroup itself
    std::vector<ObjRef> namespaces;        // that are not the session's
    // In a pid namespace below the session's: its ids in each one, from the session's down. 0: one from above.
    std::vector<int32_t> inner_pids, inner_groups, inner_sessions;
    ObjRef pids_of_children = 0, time_of_children = 0; // namespaces of those that it will make, if others
};

} // namespace abey::model
