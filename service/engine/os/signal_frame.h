// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A signal frame as the kernel builds it (arch/x86/include/asm/sigframe.h, struct rt_sigframe), made by us:
// rt_sigreturn(2) on it puts a thread back to given registers, extended state and signal mask.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <string>

#include <sys/user.h>

namespace abey::os {

// The bytes of a frame that is to lie at `address` (64-byte aligned); its first word is `return_address`.
// Interrupted system calls (orig_rax, -ERESTART*) are set up to be made again, as the kernel would have done.
Result<std::string> make_signal_frame(uint64_t address, uint64_t return_address, const user_regs_struct &given,
                                      const std::string &xstate, uint64_t signal_mask);

// The registers with which an interrupted system call is made again by running on in user mode. `same_task`: the task
// lives on, so that the kernel still knows how to restart a sleep with the time that was left (restart_syscall(2)).
user_regs_struct restart_interrupted_call(user_regs_struct registers, bool same_task);

} // namespace abey::os
