// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/credentials.h"
#include "engine/model/seccomp.h"
#include "engine/model/signals.h"

#include <array>
#include <vector>

namespace abey::model {

struct Rseq {
    uint64_t address = 0;
    uint32_t size = 0;
    uint32_t signature = 0;
    uint32_t flags = 0;
};

// sched_getattr(2)
struct Scheduling {
    uint32_t policy = 0;
    uint64_t flags = 0;
    int32_t nice = 0;
    uint32_t priority = 0;
    uint64_t runtime = 0, deadline = 0, period = 0;
    Bytes affinity; // cpu_set_t as sched_getaffinity(2) returns it
    uint64_t timer_slack_ns = 0;
    int32_t io_priority = 0;
};

// A system call that waits for a time, as it was interrupted (the kernel's struct restart_block).
struct Sleep {
    uint32_t call = 0;                       // its number; 0: not one, or nobody knows
    uint64_t left = 0;                       // nanoseconds
    static constexpr uint64_t whole = ~0ULL; // not known, or without an end: it begins anew
};

struct Thread {
    int32_t tid = 0;
    // Only a process's first one, while others run (pthread_exit(3)): it has a name and credentials, nothing more.
    bool ended = false;
    Bytes comm;
    Bytes registers; // struct user_regs_struct (sys/user.h), NT_PRSTATUS
    Bytes xstate;    // NT_X86_XSTATE
    uint64_t signal_mask = 0;
    AlternateStack alternate_stack;
    std::vector<Bytes> pending; // siginfo_t each, oldest first
    Credentials credentials;
    Seccomp seccomp;
    Scheduling scheduling;
    uint64_t robust_list = 0;
    uint64_t robust_list_size = 0;
    uint64_t clear_child_tid = 0;
    Rseq rseq;
    int32_t parent_death_signal = 0;
    // Settings of prctl(2) with the numbers that it has for them.
    int32_t time_stamp_counter = 0;          // PR_GET_TSC; 0: not told
    int32_t machine_checks = 2;              // PR_MCE_KILL_GET; 2: the default
    std::array<int32_t, 3> speculation = {}; // PR_GET_SPECULATION_CTRL, by what is controlled; 0: not by prctl
    bool io_flusher = false;                 // PR_GET_IO_FLUSHER
    std::vector<Bytes> named_cgroups;        // "name=x:/path", where it is not at the top of the hierarchy
    std::vector<int32_t> inner_tids;         // as Task::inner_pids
    Bytes cgroup;                            // like Task's, when it is another one (a threaded cgroup)
    Sleep sleep;
};

} // namespace abey::model
