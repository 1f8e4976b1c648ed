// SPDX-License-Identifier: LGPL-2.1-or-later
// General, x87, SSE and AVX registers of a thread in a busy loop that makes no system call.
#include "scenario.h"

#include <cstdint>
#include <numbers>

#include <pthread.h>

namespace {

volatile int stop = 0;
volatile int looping = 0;

struct Registers {
    alignas(32) std::uint64_t ymm[16][4];
    std::uint64_t general[8];
    long double x87[2];
    std::uint32_t mxcsr;
    std::uint16_t control;
};
Registers before;
Registers after;

// NOLINTNEXTLINE
__attribute__((target("avx"))) void spin() {
    const std::uint32_t mxcsr = 0x3f80; // round down
    const std::uint16_t control = 0x77f;
    __asm__ volatile(
        "ldmxcsr %[mxcsr]\n fninit\n fldcw %[control]\n"
        "fldt %[x0]\n fldt %[x1]\n"
        "vmovaps 0(%[in]), %%ymm0\n vmovaps 32(%[in]), %%ymm1\n vmovaps 64(%[in]), %%ymm2\n"
        "vmovaps 96(%[in]), %%ymm3\n vmovaps 224(%[in]), %%ymm7\n vmovaps 256(%[in]), %%ymm8\n"
        "vmovaps 480(%[in]), %%ymm15\n"
        "mov 512(%[in]), %%r8\n mov 520(%[in]), %%r9\n mov 528(%[in]), %%r10\n mov 536(%[in]), %%r11\n"
        "mov 544(%[in]), %%r12\n mov 552(%[in]), %%r13\n mov 560(%[in]), %%r14\n mov 568(%[in]), %%r15\n"
        "movl $1, %[looping]\n"
        "1: cmpl $0, %[stop]\n je 1b\n"
        "vmovaps %%ymm0, 0(%[out])\n vmovaps %%ymm1, 32(%[out])\n vmovaps %%ymm2, 64(%[out])\n"
        "vmovaps %%ymm3, 96(%[out])\n vmovaps %%ymm7, 224(%[out])\n vmovaps %%ymm8, 256(%[out])\n"
        "vmovaps %%ymm15, 480(%[out])\n"
        "mov %%r8, 512(%[out])\n mov %%r9, 520(%[out])\n mov %%r10, 528(%[out])\n mov %%r11, 536(%[out])\n"
        "mov %%r12, 544(%[out])\n mov %%r13, 552(%[out])\n mov %%r14, 560(%[out])\n mov %%r15, 568(%[out])\n"
        "fstpt %[y1]\n fstpt %[y0]\n stmxcsr %[mxcsr2]\n fnstcw %[control2]\n fninit\n"
        : [looping] "=m"(looping), [y0] "=m"(after.x87[0]), [y1] "=m"(after.x87[1]), [mxcsr2] "=m"(after.mxcsr),
          [control2] "=m"(after.control)
        : [in] "S"(&before), [out] "D"(&after), [stop] "m"(stop), [mxcsr] "m"(mxcsr), [control] "m"(control),
          [x0] "m"(before.x87[0]), [x1] "m"(before.x87[1])
        : "memory", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm7",
          "xmm8", "xmm15");
}

void *run(void *) {
    spin();
    return nullptr;
}

} // namespace

int main(int argc, char **argv) {
    if (!__builtin_cpu_supports("avx"))
        return 77;
    scenario::begin(argc, argv);
    static_assert(offsetof(Registers, general) == 512);
    for (int i = 0; i < 16; ++i)
        for (int j = 0; j < 4; ++j)
            before.ymm[i][j] = 0x9e3779b97f4a7c15ULL * static_cast<unsigned>(i * 4 + j + 1);
    for (int i = 0; i < 8; ++i)
        before.general[i] = 0xc2b2ae3d27d4eb4fULL * static_cast<unsigned>(i + 1);
    before.x87[0] = std::numbers::pi_v<long double>;
    before.x87[1] = -1.0L / 3;
    pthread_t thread = {};
    EQUAL(0, pthread_create(&thread, nullptr, run, nullptr));
    while (looping == 0)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    stop = 1;
    EQUAL(0, pthread_join(thread, nullptr));
    for (const int i : {0, 1, 2, 3, 7, 8, 15})
        for (int j = 0; j < 4; ++j)
            EQUAL(before.ymm[i][j], after.ymm[i][j]);
    for (int i = 0; i < 8; ++i)
        EQUAL(before.general[i], after.general[i]);
    CHECK(before.x87[0] == after.x87[0]);
    CHECK(before.x87[1] == after.x87[1]);
    EQUAL(0x3f80U, after.mxcsr & ~0x3fU);
    EQUAL(0x77f, after.control);
    scenario::pass();
}
