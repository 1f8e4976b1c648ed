// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The frontend: those processes of a session's scope that belong to the login itself (sshd, login, a display manager's
// session worker, our keeper). A suspend spares them: when the session has gone they see their child exit and log the
// user out.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <sys/types.h>

namespace abey::session {

// As /proc/PID/stat has it (proc_pid_stat(5)).
struct Process {
    pid_t pid = 0;
    std::string comm;
    pid_t parent = 0;
    pid_t sid = 0;           // kernel session
    uint32_t tty = 0;        // device number of the controlling terminal, 0: none
    uid_t uid = 0;           // effective; /proc/PID/status has it
    uint64_t start_time = 0; // clock ticks since boot: with the pid it names a process
};

// ENOENT, ESRCH: it has ended.
Result<Process> read_process(pid_t pid);

// Every process of a cgroup directory and the groups below it. Those that end while we look are left out.
Result<std::vector<Process>> processes_in(const std::string &cgroup);

// The pids, ascending, of the processes that are frontend. `leader` is logind's Leader. It is
//  - the leader. When it leads the terminal's kernel session itself (Debian's login, su), what it started shares that
//    session, which therefore outlives the checkpointed processes;
//  - the same program again below it, in the same kernel session and without terminal (sshd's unprivileged half).
//    What the user starts is never that: it is another program, or has a session or terminal of its own;
//  - of a unit with PAMName= (systemd.exec(5)) the leader is the user's own program: not it, but the "(sd-pam)" child.
//    A leader of root's is never taken for that, whatever the user's programs call themselves.
// su, sudo, script and the like within the session are part of it, not of the frontend. A leader that is not among the
// processes (it ended, or lives in another cgroup) gives an empty list.
std::vector<pid_t> frontend(std::span<const Process> processes, pid_t leader);

} // namespace abey::session
