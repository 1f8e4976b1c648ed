// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/frontend.h"

#include "engine/os/fd.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

namespace abey::session {
namespace {

// pid_max is 4 Mi at most, a line is 8 bytes at most: what is longer is not cgroup.procs.
constexpr size_t procs_limit = 64U << 20U;

template <class T> bool take_number(std::string_view &text, T &value) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\n'))
        text.remove_prefix(1);
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc())
        return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return true;
}

// The directory itself must exist; groups below it come and go while we look.
Result<> add_processes(const std::string &directory, std::vector<Process> &processes) {
    const std::string procs = TRY(read_file(directory + "/cgroup.procs", procs_limit));
    std::string_view rest = procs;
    for (pid_t pid = 0; take_number(rest, pid);) {
        auto process = read_process(pid);
        if (process)
            processes.push_back(std::move(*process));
        else if (process.error().code() != ENOENT && process.error().code() != ESRCH)
            return within(std::move(process).error(), "process {}", pid);
    }
    return {};
}

} // namespace

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
    TRY(add_processes(cgroup, processes));
    std::error_code code;
    const auto options = std::filesystem::directory_options::skip_permission_denied;
    for (auto it = std::filesystem::recursive_directory_iterator(cgroup, options, code);
         !code && it != std::filesystem::recursive_directory_iterator(); it.increment(code)) {
        std::error_code gone;
        if (!it->is_directory(gone))
            continue;
        auto below = add_processes(it->path().string(), processes);
        if (!below && below.error().code() != ENOENT && below.error().code() != ENODEV)
            return std::unexpected(std::move(below).error());
    }
    if (code && code != std::errc::no_such_file_or_directory)
        return fail(code.value(), "cannot list {}", cgroup);
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
