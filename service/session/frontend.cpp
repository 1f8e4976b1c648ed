// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/frontend.h"

#include "engine/os/cgroup.h"
#include "engine/os/procfs.h"

#include <algorithm>

namespace abey::session {

Result<Process> read_process(pid_t pid) {
    os::ProcStat stat = TRY(os::read_stat(pid));
    const os::ProcStatus status = TRY(os::read_status(pid));
    return Process{.pid = pid,
                   .comm = std::move(stat.comm),
                   .parent = stat.parent,
                   .sid = stat.session,
                   .tty = static_cast<uint32_t>(stat.terminal),
                   .uid = status.uids[1],
                   .start_time = stat.start_time};
}

Result<std::vector<Process>> processes_in(const std::string &cgroup) {
    std::vector<Process> processes;
    const auto group = TRY(os::Cgroup::open(cgroup));
    for (const auto &[pid, below] : TRY(group.processes())) {
        auto process = read_process(pid);
        if (process)
            processes.push_back(std::move(*process));
        else if (process.error().code() != ENOENT && process.error().code() != ESRCH)
            return within(std::move(process).error(), "process {}", pid);
    }
    return processes;
}

std::vector<pid_t> frontend(std::span<const Process> processes, pid_t leader) {
    const auto head = std::ranges::find(processes, leader, &Process::pid);
    if (head == processes.end())
        return {};
    for (const Process &process : processes) {
        if (process.parent == leader && process.comm == "(sd-pam)" && (head->uid != 0 || process.uid == head->uid))
            return {process.pid};
    }
    std::vector<pid_t> found = {leader};
    // The list grows while we walk it: each found process is asked for its children once.
    for (size_t i = 0; i < found.size(); ++i) {
        for (const Process &process : processes) {
            if (process.parent == found[i] && process.sid == head->sid && process.tty == 0 &&
                process.comm == head->comm && std::ranges::find(found, process.pid) == found.end())
                found.push_back(process.pid);
        }
    }
    std::ranges::sort(found);
    return found;
}

} // namespace abey::session
