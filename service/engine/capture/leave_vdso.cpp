// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/leave_vdso.h"

#include "engine/os/cgroup.h"
#include "engine/os/remote.h"
#include "engine/os/vdso.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <set>
#include <span>

#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

namespace abey::capture {

namespace {

constexpr int most_slices = 100;
constexpr long shortest_ns = 20'000; // less, and a thread is stopped before it has made a step
constexpr int wait_ms = 5000;

struct Within {
    Stopped *process;
    os::Tracee *thread;
    std::pair<uint64_t, uint64_t> vdso;
};

// What a wait that was interrupted returns (EINTR, and ERESTARTSYS and its like of include/linux/errno.h); no call that
// the vDSO makes does. So nothing has to be known of a process that sleeps, as most do.
bool sleeps(const user_regs_struct &registers) {
    const auto result = static_cast<long>(registers.rax);
    return static_cast<long>(registers.orig_rax) >= 0 && (result == -EINTR || (result >= -516 && result <= -512));
}

Result<bool> is_within(const Within &one) {
    return stands_within(one.process->stat.door, TRY(one.thread->registers()), one.vdso);
}

Result<std::vector<Within>> all_within(std::vector<Stopped> &processes) {
    std::vector<Within> found;
    for (Stopped &process : processes) {
        std::optional<std::pair<uint64_t, uint64_t>> vdso;
        for (os::Tracee &thread : process.threads) {
            if (thread.group_stop() != 0 || sleeps(TRY(thread.registers())))
                continue;
            if (!vdso)
                vdso = vdso_of(process.stat.door);
            const Within one{&process, &thread, *vdso};
            if (TRY(is_within(one)))
                found.push_back(one);
        }
    }
    return found;
}

// All there is, as far as those who run on could change it.
Result<std::set<int>> tasks_now(const std::vector<Stopped> &processes, const Target &target) {
    std::set<int> tasks;
    const auto add = [&tasks](const Result<std::vector<int>> &some) -> Result<> {
        if (!some && !vanished(some.error()))
            return std::unexpected(some.error());
        if (some)
            tasks.insert(some->begin(), some->end());
        return {};
    };
    for (const Stopped &process : processes) {
        if (process.threads.empty())
            continue;
        const auto tids = os::threads_of(process.pid);
        TRY(add(tids));
        if (tids)
            TRY(add(os::children_of(process.pid, *tids)));
    }
    if (!target.cgroup.empty()) {
        const os::Cgroup cgroup = TRY(os::Cgroup::open(target.cgroup));
        for (const auto &[pid, below] : TRY(cgroup.processes()))
            tasks.insert(pid);
    }
    return tasks;
}

// Until it stands again as it did; false: it does not.
Result<bool> stop_again(os::Tracee &thread) {
    TRY(thread.interrupt());
    for (;;) {
        const os::Stop stop = TRY(thread.wait(wait_ms));
        if (stop.gone)
            return false;
        if (stop.event == PTRACE_EVENT_STOP)
            return stop.signal == SIGTRAP; // else job control has stopped it
        TRY(thread.go_on(stop.signal));    // to its signal; the interrupt is still to come
    }
}

} // namespace

std::pair<uint64_t, uint64_t> vdso_of(int pid) {
    const auto maps = os::read_maps(pid);
    if (!maps)
        return {};
    const auto found = std::ranges::find(*maps, "[vdso]", &os::ProcMapping::name);
    return found == maps->end() ? std::pair<uint64_t, uint64_t>() : std::pair(found->start, found->end);
}

bool stands_within(int pid, const user_regs_struct &registers, const std::pair<uint64_t, uint64_t> &vdso) {
    if (registers.rip < vdso.first || registers.rip >= vdso.second)
        return false;
    std::array<char, os::system_call.size()> before{};
    return !os::read_memory(pid, registers.rip - before.size(), std::as_writable_bytes(std::span(before))) ||
           std::string_view(before.data(), before.size()) != os::system_call;
}

Result<bool> leave_vdso(std::vector<Stopped> &processes, const Target &target) {
    auto within = TRY(all_within(processes));
    if (within.empty())
        return true;
    const auto before = TRY(tasks_now(processes, target));
    std::set<Stopped *> moved;
    bool as_before = true;
    for (int round = 0; round < most_slices && !within.empty() && as_before; ++round) {
        for (const Within &one : within) {
            TRY(one.thread->go_on());
            moved.insert(one.process);
        }
        // never twice the same: what does nothing else would be found at the same place again
        const timespec slice = {0, shortest_ns + 1'700L * (round % 37)};
        (void)::nanosleep(&slice, nullptr);
        for (const Within &one : within) {
            const auto stands = stop_again(*one.thread);
            if (!stands && !vanished(stands.error()))
                return std::unexpected(stands.error());
            as_before = as_before && stands && *stands;
        }
        std::vector<Within> left;
        for (const Within &one : within)
            if (as_before && TRY(is_within(one)))
                left.push_back(one);
        within = std::move(left);
    }
    if (!as_before || TRY(tasks_now(processes, target)) != before)
        return false;
    for (Stopped *process : moved) {
        const int door = process->stat.door;
        process->stat = TRY(os::read_stat(process->pid));
        process->stat.door = door;
    }
    return true;
}

} // namespace abey::capture
