// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/sleeping.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include <sys/syscall.h>
#include <sys/user.h>

namespace abey::rebuild {

namespace {

constexpr uint64_t second = 1000000000;
constexpr uint64_t millisecond = 1000000;
constexpr size_t time_distance = 64; // of the time from the region's end

Result<> wait_for_call(os::Tracee &tracee) {
    for (;;) {
        TRY(tracee.go_on_to_syscall());
        const os::Stop stop = TRY(tracee.wait());
        if (stop.gone)
            return fail(ESRCH, "thread {} ended", tracee.tid());
        if (stop.syscall)
            return {};
        if (stop.event == 0)
            return fail(0, "thread {} got signal {} where it was to sleep", tracee.tid(), stop.signal);
    }
}

} // namespace

Result<std::optional<long>> fall_asleep(const Husk &husk, os::Tracee &tracee, const model::Thread &thread,
                                        uint64_t call) {
    const auto number = thread.sleep.call;
    // a filter need not allow restart_syscall(2)
    if (thread.sleep.left == model::Sleep::whole || thread.seccomp.mode != 0 ||
        (number != SYS_nanosleep && number != SYS_clock_nanosleep && number != SYS_poll && number != SYS_futex))
        return std::nullopt;
    user_regs_struct registers = {};
    std::memcpy(&registers, thread.registers.data(), std::min(sizeof registers, thread.registers.size()));
    const uint64_t at = husk.shop().region.base() + husk.shop().region.size() - time_distance;
    const timespec left = {static_cast<time_t>(thread.sleep.left / second),
                           static_cast<long>(thread.sleep.left % second)};
    TRY(os::write_memory(tracee.tid(), at, std::as_bytes(std::span(&left, 1))));
    if (number == SYS_nanosleep)
        registers.rdi = at;
    else if (number == SYS_clock_nanosleep)
        registers.rdx = at;
    else if (number == SYS_futex)
        registers.r10 = at;
    else
        registers.rdx = std::min<uint64_t>((thread.sleep.left + millisecond - 1) / millisecond, INT32_MAX);
    registers.rip = call;
    registers.rax = number;
    registers.orig_rax = ~0ULL;
    TRY(tracee.set_registers(registers));
    TRY(tracee.set_signal_mask(~0ULL));
    TRY(wait_for_call(tracee)); // its beginning
    TRY(tracee.interrupt());
    TRY(wait_for_call(tracee)); // its end
    return static_cast<long>(TRY(tracee.registers()).rax);
}

} // namespace abey::rebuild
