// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/signal_frame.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <asm/sigcontext.h>
#include <sys/syscall.h>

namespace abey::os {

namespace {

// linux/errno.h keeps these from user space; they only show in the registers of a stopped task.
constexpr long erestartsys = 512;
constexpr long erestartnointr = 513;
constexpr long erestartnohand = 514;
constexpr long erestart_restartblock = 516;

// arch/x86/include/uapi/asm/ucontext.h, which cannot be included beside <signal.h>
constexpr uint64_t uc_fp_xstate = 1;
constexpr uint64_t uc_sigcontext_ss = 2;
constexpr uint64_t uc_strict_restore_ss = 4;

constexpr uint64_t syscall_instruction_size = 2;

// glibc's ucontext_t differs from the kernel's in the tail; this is the kernel's (asm-generic/ucontext.h).
struct KernelContext {
    uint64_t flags;
    uint64_t link;
    uint64_t stack_pointer;
    int32_t stack_flags;
    uint32_t stack_pad;
    uint64_t stack_size;
    sigcontext_64 machine;
    uint64_t signal_mask;
};

struct Frame {
    uint64_t return_address;
    KernelContext context;
};

constexpr size_t xstate_alignment = 64;
constexpr size_t xstate_offset = (sizeof(Frame) + xstate_alignment - 1) / xstate_alignment * xstate_alignment;
constexpr size_t software_bytes_offset = 464; // arch/x86/include/uapi/asm/sigcontext.h, struct _fpx_sw_bytes

} // namespace

user_regs_struct restart_interrupted_call(user_regs_struct registers, bool same_task) {
    if (static_cast<long>(registers.orig_rax) < 0)
        return registers;
    switch (-static_cast<long>(registers.rax)) {
    case erestartsys:
    case erestartnointr:
    case erestartnohand:
        registers.rax = registers.orig_rax;
        break;
    case erestart_restartblock:
        registers.rax = same_task ? SYS_restart_syscall : registers.orig_rax;
        break;
    default:
        return registers;
    }
    registers.rip -= syscall_instruction_size;
    registers.orig_rax = ~0ULL;
    return registers;
}

Result<std::string> make_signal_frame(uint64_t address, uint64_t return_address, const user_regs_struct &given,
                                      const std::string &xstate, uint64_t signal_mask) {
    if (address % xstate_alignment != 0)
        return fail(0, "signal frame at {:#x} is not aligned", address);
    if (xstate.size() < software_bytes_offset + sizeof(_fpx_sw_bytes))
        return fail(0, "extended state of {} bytes is too small", xstate.size());
    // rt_sigreturn makes the kernel forget how to restart a sleep, so the call itself is made again
    const user_regs_struct registers = restart_interrupted_call(given, false);
    Frame frame = {};
    frame.return_address = return_address;
    frame.context.flags = uc_fp_xstate | uc_sigcontext_ss | uc_strict_restore_ss;
    // an impossible alternate stack is refused by the kernel, and that refusal ignored: the task keeps its own
    frame.context.stack_flags = 0x7f;
    sigcontext_64 &machine = frame.context.machine;
    machine.r8 = registers.r8;
    machine.r9 = registers.r9;
    machine.r10 = registers.r10;
    machine.r11 = registers.r11;
    machine.r12 = registers.r12;
    machine.r13 = registers.r13;
    machine.r14 = registers.r14;
    machine.r15 = registers.r15;
    machine.di = registers.rdi;
    machine.si = registers.rsi;
    machine.bp = registers.rbp;
    machine.bx = registers.rbx;
    machine.dx = registers.rdx;
    machine.ax = registers.rax;
    machine.cx = registers.rcx;
    machine.sp = registers.rsp;
    machine.ip = registers.rip;
    machine.flags = registers.eflags;
    machine.cs = static_cast<uint16_t>(registers.cs);
    machine.ss = static_cast<uint16_t>(registers.ss);
    machine.fpstate = address + xstate_offset;
    frame.context.signal_mask = signal_mask;

    std::string state = xstate;
    _fpx_sw_bytes software = {};
    software.magic1 = FP_XSTATE_MAGIC1;
    software.extended_size = static_cast<uint32_t>(state.size() + sizeof(uint32_t));
    // NT_X86_XSTATE holds XCR0 where the frame has these bytes (arch/x86/kernel/fpu/xstate.c)
    std::memcpy(&software.xfeatures, state.data() + software_bytes_offset, sizeof software.xfeatures);
    software.xstate_size = static_cast<uint32_t>(state.size());
    std::memcpy(state.data() + software_bytes_offset, &software, sizeof software);

    std::string bytes(xstate_offset, '\0');
    std::memcpy(bytes.data(), &frame, sizeof frame);
    bytes += state;
    const uint32_t magic2 = FP_XSTATE_MAGIC2;
    bytes.append(reinterpret_cast<const char *>(&magic2), sizeof magic2);
    return bytes;
}

} // namespace abey::os
