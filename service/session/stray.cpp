// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/stray.h"

#include "engine/os/procfs.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

namespace abey::session {

std::vector<Process> strays(std::span<const Process> inside, std::span<const Process> others) {
    std::set<pid_t> pids;
    std::set<uint32_t> terminals;
    for (const Process &process : inside) {
        pids.insert(process.pid);
        if (process.tty != 0)
            terminals.insert(process.tty);
    }
    std::vector<Process> found;
    for (const Process &other : others)
        if (terminals.contains(other.tty) || pids.contains(other.parent))
            found.push_back(other);
    return found;
}

Result<std::vector<Process>> others_than(std::span<const Process> inside, std::span<const pid_t> spared) {
    std::set<pid_t> known(spared.begin(), spared.end());
    for (const Process &process : inside)
        known.insert(process.pid);
    std::vector<Process> others;
    std::error_code code;
    for (auto it = std::filesystem::directory_iterator("/proc", code);
         !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
        const std::string name = it->path().filename();
        pid_t pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size() ||
            known.contains(pid))
            continue;
        if (auto process = read_process(pid)) // else it has ended meanwhile
            others.push_back(std::move(*process));
    }
    if (code)
        return fail(code.value(), "cannot list /proc");
    return others;
}

} // namespace abey::session
