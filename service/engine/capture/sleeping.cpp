// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/sleeping.h"

#include <cerrno>

#include <sys/syscall.h>
#include <sys/user.h>

namespace abey::capture {

namespace {

constexpr long restart_unless_handled = -514; // ERESTARTNOHAND, include/linux/errno.h

} // namespace

Result<> continue_endless_wait(os::Tracee &thread) {
    user_regs_struct registers = TRY(thread.registers());
    if (static_cast<long>(registers.rax) != -EINTR)
        return {};
    const auto endless = [&registers] {
        switch (static_cast<long>(registers.orig_rax)) {
        case SYS_epoll_wait:
        case SYS_epoll_pwait:
            return static_cast<int32_t>(registers.r10) < 0;
        case SYS_epoll_pwait2:
        case SYS_semtimedop:
            return registers.r10 == 0;
        case SYS_rt_sigtimedwait:
            return registers.rdx == 0;
        case SYS_semop:
            return true;
        default:
            return false;
        }
    };
    if (!endless())
        return {};
    registers.rax = static_cast<uint64_t>(restart_unless_handled);
    return thread.set_registers(registers);
}

} // namespace abey::capture
