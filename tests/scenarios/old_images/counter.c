// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The program in these images: it counts ten times a second, and its name says how far it is. Without a libc, so that the
// image is small:
//   gcc -Os -nostdlib -static -ffreestanding -fno-stack-protector -Wl,--build-id=none -Wl,-z,noseparate-code counter.c
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static long call(long number, long first, long second) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
    return result;
}

static char name[] = "count-0000";
static volatile uint32_t count;

void _start(void) {
    for (;;) {
        const long tenth[2] = {0, 100000000};
        uint32_t rest = ++count;
        for (int digit = 9; digit >= 6; digit--, rest /= 10)
            name[digit] = (char)('0' + rest % 10);
        call(SYS_prctl, PR_SET_NAME, (long)name);
        call(SYS_nanosleep, (long)tenth, 0);
    }
}
