// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The only code of ours that ever runs in another process. It walks an array of Batch::Entry and makes the calls.
//
//   rbx  the next entry        r12  how many are left
//   rbp  signal frame + 8      r13, r14, r15  process id, thread id and signal for the final tgkill(2)
//
// The stop at the end is a signal to itself which is ignored by default: with a tracer the task stops in its delivery
// (ptrace(2): ignored signals are reported too), without one nothing happens and rt_sigreturn(2) puts the task back
// where it was before the batch. So a task whose tracer is killed in the middle finishes the batch and heals.
#include "engine/os/batch_layout.h"

#include <cstddef>

extern "C" {
extern const std::byte abey_batch_code_start[]; // NOLINT: symbols of the assembly below
extern const std::byte abey_batch_code_said[];  // NOLINT: behind the final tgkill(2)
extern const std::byte abey_batch_code_end[];   // NOLINT
}

asm(R"(
    .pushsection .rodata.abey_batch, "a"
    .globl abey_batch_code_start, abey_batch_code_said, abey_batch_code_end
    .hidden abey_batch_code_start, abey_batch_code_said, abey_batch_code_end
abey_batch_code_start:
1:  test %r12, %r12
    jz 3f
    movq 0(%rbx), %rax
    movq 8(%rbx), %rdi
    movq 16(%rbx), %rsi
    movq 24(%rbx), %rdx
    movq 32(%rbx), %r10
    movq 40(%rbx), %r8
    movq 48(%rbx), %r9
    syscall
    movq %rax, 56(%rbx)
    cmpq $0, 64(%rbx)
    je 2f
    cmpq $-4095, %rax
    jae 3f
2:  addq $72, %rbx
    decq %r12
    jmp 1b
3:  movl $234, %eax
    movq %r13, %rdi
    movq %r14, %rsi
    movq %r15, %rdx
    syscall
abey_batch_code_said:
    movq %rbp, %rsp
    movl $15, %eax
    syscall
    hlt
abey_batch_code_end:
    .popsection
)");

namespace abey::os::batch_layout {

std::span<const std::byte> code() { return {abey_batch_code_start, abey_batch_code_end}; }

size_t final_offset() { return static_cast<size_t>(abey_batch_code_said - abey_batch_code_start); }

} // namespace abey::os::batch_layout
