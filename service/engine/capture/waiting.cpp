// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/waiting.h"

#include "engine/machine.h"
#include "engine/os/remote.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include <sys/syscall.h>
#include <sys/user.h>

namespace abey::capture {

namespace {

constexpr uint64_t one_second = 1000000000;
constexpr uint64_t one_millisecond = 1000000;
constexpr long restart_unless_handled = -514; // ERESTARTNOHAND, include/linux/errno.h

struct WaitCall {
    uint64_t number = 0;
    std::array<uint64_t, 4> arguments = {};
};

enum class LimitKind { other_call, none, milliseconds, time };

struct WaitLimit {
    LimitKind limit = LimitKind::other_call;
    size_t argument = 0; // of `time`: its address
};

WaitLimit limit_of(const WaitCall &call) {
    constexpr size_t third = 2, fourth = 3;
    switch (call.number) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
        return {static_cast<int32_t>(call.arguments[fourth]) < 0 ? LimitKind::none : LimitKind::milliseconds, fourth};
    case SYS_epoll_pwait2:
    case SYS_semtimedop:
        return {call.arguments[fourth] == 0 ? LimitKind::none : LimitKind::time, fourth};
    case SYS_rt_sigtimedwait:
        return {call.arguments[third] == 0 ? LimitKind::none : LimitKind::time, third};
    case SYS_semop:
        return {LimitKind::none, 0};
    default:
        return {};
    }
}

// Nanoseconds.
std::optional<uint64_t> asked_for(int tid, const WaitCall &call, WaitLimit known) {
    if (known.limit == LimitKind::milliseconds)
        return call.arguments.at(known.argument) * one_millisecond;
    timespec time = {};
    if (known.limit != LimitKind::time ||
        !os::read_memory(tid, call.arguments.at(known.argument), std::as_writable_bytes(std::span(&time, 1))) ||
        time.tv_sec < 0 || time.tv_sec > static_cast<time_t>(INT64_MAX / one_second) - 1)
        return std::nullopt;
    return static_cast<uint64_t>(time.tv_sec) * one_second + static_cast<uint64_t>(time.tv_nsec);
}

std::optional<uint64_t> left_of(Context &context, int tid, const os::ProcStatus &status, uint64_t asked) {
    const auto &waits = context.state<Waits>();
    const auto seen = waits.by_tid.find(tid);
    // More: it has waited for something else meanwhile. Fewer is fine: a thread that is stopped on its way into a
    // frozen cgroup may not leave the processor for that (do_freezer_trap() of kernel/signal.c).
    if (seen == waits.by_tid.end() || status.waits > seen->second.switches + waits.stops)
        return std::nullopt;
    const auto now = engine::initial_clocks();
    if (!now)
        return std::nullopt;
    const auto end = static_cast<int64_t>(seen->second.end);
    const auto left = static_cast<uint64_t>(std::max<int64_t>(0, end - now->monotonic));
    return left <= asked ? std::optional(left) : std::nullopt;
}

// Memory of the thread's own stack beyond what the program uses (the red zone of the System V ABI), for as long as no
// signal handler runs: then the call does not begin again either.
std::optional<uint64_t> beyond_stack(const user_regs_struct &registers, const std::vector<os::ProcMapping> &mappings) {
    constexpr uint64_t red_zone = 128, place = 64, room = 1024;
    const auto stack = std::ranges::find_if(mappings, [&](const os::ProcMapping &mapping) {
        return registers.rsp >= mapping.start && registers.rsp < mapping.end;
    });
    if (stack == mappings.end() || stack->inode != 0 || registers.rsp - stack->start < room)
        return std::nullopt;
    // the first thread's, or one with the thread's own storage above it: not one that the program has put elsewhere
    const bool own = stack->name == "[stack]" || (registers.fs_base > registers.rsp && registers.fs_base < stack->end);
    return own ? std::optional((registers.rsp - red_zone - place) & ~(place - 1)) : std::nullopt;
}

// False: there is no room for the time.
bool shorten(int tid, user_regs_struct &registers, WaitLimit known, uint64_t left,
             const std::vector<os::ProcMapping> &mappings) {
    if (known.limit == LimitKind::milliseconds) {
        registers.r10 = std::min<uint64_t>((left + one_millisecond - 1) / one_millisecond, INT32_MAX);
        return true;
    }
    const auto place = beyond_stack(registers, mappings);
    const timespec time = {static_cast<time_t>(left / one_second), static_cast<long>(left % one_second)};
    if (!place || !os::write_memory(tid, *place, std::as_bytes(std::span(&time, 1))))
        return false;
    constexpr size_t third = 2;
    (known.argument == third ? registers.rdx : registers.r10) = *place;
    return true;
}

} // namespace

void Waits::look_ahead(const os::ProcStat &process) {
    for (const int tid : os::threads_of(process).value_or(std::vector<int>())) {
        const auto text = os::read_proc(process.door, fmt::format("task/{}/syscall", tid));
        WaitCall call;
        auto &a = call.arguments;
        if (!text || std::sscanf(text->c_str(), "%lu 0x%lx 0x%lx 0x%lx 0x%lx", &call.number, a.data(), &a[1], &a[2],
                                 &a[3]) != 1 + static_cast<int>(a.size()))
            continue;
        if (asked_for(tid, call, limit_of(call)).value_or(0) < one_second)
            continue;
        if (!ends)
            ends = os::WaitEnds::open();
        if (!*ends)
            return;
        const auto before = os::read_status(process.door, tid);
        const auto end = (*ends)->of(tid).value_or(std::nullopt);
        const auto after = os::read_status(process.door, tid);
        if (before && after && before->waits == after->waits && end)
            by_tid[tid] = {*end, after->waits};
    }
}

Result<> continue_wait(Context &context, os::Tracee &thread, const os::ProcStatus &status,
                       const std::vector<os::ProcMapping> &mappings) {
    user_regs_struct registers = TRY(thread.registers());
    if (static_cast<long>(registers.rax) != -EINTR)
        return {};
    const WaitCall call = {registers.orig_rax, {registers.rdi, registers.rsi, registers.rdx, registers.r10}};
    const WaitLimit known = limit_of(call);
    if (known.limit == LimitKind::other_call)
        return {};
    if (known.limit != LimitKind::none) {
        const auto asked = asked_for(thread.tid(), call, known);
        if (!asked)
            return {};
        const auto left = left_of(context, thread.tid(), status, *asked);
        if (left ? !shorten(thread.tid(), registers, known, *left, mappings) : *asked >= one_second)
            return {};
    }
    registers.rax = static_cast<uint64_t>(restart_unless_handled);
    return thread.set_registers(registers);
}

} // namespace abey::capture
