// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/sleeping.h"

#include "engine/machine.h"
#include "engine/os/procfs.h"
#include "engine/os/remote.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/user.h>

namespace abey::capture {

namespace {

constexpr int64_t second = 1000000000;
constexpr int64_t millisecond = 1000000;
constexpr long restart_block = -516; // ERESTART_RESTARTBLOCK, include/linux/errno.h

template <class T> std::optional<T> read_at(int tid, uint64_t address) {
    T value = {};
    if (address == 0 || !os::read_memory(tid, address, std::as_writable_bytes(std::span(&value, 1))))
        return std::nullopt;
    return value;
}

// In the registers of a call that was restarted before (restart_syscall(2)) its number is lost; most programs have it
// in the instruction before the call: mov $NUMBER, %eax; syscall.
uint32_t number_in_code(int tid, uint64_t instruction) {
    const auto code = read_at<std::array<unsigned char, 7>>(tid, instruction - 7);
    if (!code || (*code)[0] != 0xb8 || (*code)[5] != 0x0f || (*code)[6] != 0x05)
        return 0;
    uint32_t number = 0;
    std::memcpy(&number, code->data() + 1, sizeof number);
    return number;
}

struct Request {
    uint32_t call = 0;
    uint64_t time = 0; // address of its time, 0: none
    uint64_t rest = 0; // where the program wants to be told what is left
    int64_t wanted = 0;
};

// What was asked for; nothing for times without an end, and for those of clocks that stand still with the thread.
std::optional<Request> request_of(int tid, uint32_t call, const user_regs_struct &registers) {
    Request request = {.call = call};
    switch (call) {
    case SYS_nanosleep:
        request.time = registers.rdi;
        request.rest = registers.rsi;
        break;
    case SYS_clock_nanosleep:
        if (registers.rdi != CLOCK_REALTIME && registers.rdi != CLOCK_MONOTONIC && registers.rdi != CLOCK_BOOTTIME)
            return std::nullopt;
        request.time = registers.rdx;
        request.rest = registers.r10;
        break;
    case SYS_futex:
        if ((registers.rsi & ~static_cast<uint64_t>(FUTEX_PRIVATE_FLAG)) != FUTEX_WAIT)
            return std::nullopt;
        request.time = registers.r10;
        break;
    case SYS_poll:
        if (static_cast<int32_t>(registers.rdx) < 0)
            return std::nullopt;
        request.wanted = static_cast<int32_t>(registers.rdx) * millisecond;
        return request;
    default:
        return std::nullopt;
    }
    const auto time = read_at<timespec>(tid, request.time);
    if (!time)
        return std::nullopt;
    request.wanted = time->tv_sec > INT64_MAX / second - 1 ? INT64_MAX : time->tv_sec * second + time->tv_nsec;
    return request;
}

// Nanoseconds; negative: it is not that call's.
int64_t left_by_kernel(const os::RestartBlock &block, const Request &request, const user_regs_struct &registers,
                       const model::Clocks &now) {
    const auto until = [](uint64_t end, int64_t from) {
        return std::max<int64_t>(0, static_cast<int64_t>(std::min<uint64_t>(end, INT64_MAX)) - from);
    };
    if (request.call == SYS_futex)
        return block.futex_address == registers.rdi ? until(block.futex_end, now.monotonic) : -1;
    if (request.call == SYS_poll)
        return block.poll_address == registers.rdi && block.poll_has_end && block.poll_seconds < INT64_MAX / second
                   ? until(static_cast<uint64_t>(block.poll_seconds * second + block.poll_nanoseconds), now.monotonic)
                   : -1;
    if (block.sleep_address != request.rest)
        return -1;
    if (block.sleep_clock == CLOCK_MONOTONIC)
        return until(block.sleep_end, now.monotonic);
    return block.sleep_clock == CLOCK_BOOTTIME ? until(block.sleep_end, now.boottime) : -1;
}

// Of a call whose number is lost: by what the kernel has kept of its arguments. Where the others have an address a
// sleep has two small numbers, clock and type.
uint32_t number_by_kernel(const os::RestartBlock &block, const user_regs_struct &registers) {
    const auto second_argument = static_cast<uint32_t>(registers.rsi), third = static_cast<uint32_t>(registers.rdx);
    if (block.futex_address == registers.rdi && block.futex_value == third && block.futex_value != second_argument)
        return SYS_futex;
    if (block.poll_address == registers.rdi && block.poll_count == second_argument && block.poll_count != third)
        return SYS_poll;
    constexpr uint64_t most_types = 4;
    constexpr uint64_t most_clocks = 16;
    if ((block.futex_address >> 32U) >= most_types ||
        (block.sleep_clock != CLOCK_MONOTONIC && block.sleep_clock != CLOCK_BOOTTIME))
        return 0;
    return registers.rdi < most_clocks ? SYS_clock_nanosleep : SYS_nanosleep;
}

std::optional<os::RestartBlock> block_of(Context &context, int tid) {
    auto &blocks = context.state<Sleepers>().blocks;
    if (!blocks)
        blocks.emplace(os::RestartBlocks::open());
    if (!*blocks)
        return std::nullopt;
    auto block = (*blocks)->of(tid);
    return block ? std::optional(*block) : std::nullopt;
}

} // namespace

void Sleepers::look_ahead(int pid) {
    const auto text = blocks ? Result<std::string>("") : os::read_proc(pid, "syscall");
    unsigned call = 0;
    std::array<uint64_t, 3> arguments = {};
    if (!text ||
        std::sscanf(text->c_str(), "%u 0x%lx 0x%lx 0x%lx", &call, arguments.data(), &arguments[1], &arguments[2]) != 4)
        return;
    const bool sleeps = call == SYS_nanosleep || call == SYS_clock_nanosleep || call == SYS_restart_syscall;
    const bool polls = call == SYS_poll && static_cast<int32_t>(arguments[2]) >= second / millisecond;
    if (sleeps || polls)
        blocks.emplace(os::RestartBlocks::open());
}

void capture_sleep(Context &context, int tid, model::Thread &thread) {
    user_regs_struct registers = {};
    std::memcpy(&registers, thread.registers.data(), std::min(sizeof registers, thread.registers.size()));
    if (static_cast<long>(registers.rax) != restart_block || static_cast<long>(registers.orig_rax) < 0)
        return;
    auto call = static_cast<uint32_t>(registers.orig_rax);
    const bool again = call == SYS_restart_syscall;
    if (again)
        call = number_in_code(tid, registers.rip);
    std::optional<os::RestartBlock> block;
    if (again && call == 0 && (block = block_of(context, tid)))
        call = number_by_kernel(*block, registers);
    const auto request = request_of(tid, call, registers);
    if (again && (request || call == SYS_poll || call == SYS_futex)) // the latter without an end
        thread.sleep = {call, model::Sleep::whole};
    if (!request || request->wanted < second) // begins anew: nobody waits long, and the look would take its time, too
        return;
    if (const auto rest = read_at<timespec>(tid, request->rest)) // the kernel has told at the interruption
        thread.sleep = {call, static_cast<uint64_t>(std::max<int64_t>(0, rest->tv_sec * second + rest->tv_nsec))};
    const auto now = engine::initial_clocks();
    if (!block)
        block = block_of(context, tid);
    if (!block || !now)
        return;
    if (const int64_t left = left_by_kernel(*block, *request, registers, *now); left >= 0)
        thread.sleep = {call, static_cast<uint64_t>(left)};
}

} // namespace abey::capture
