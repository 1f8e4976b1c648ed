// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The program in images of another kernel: ten times a second it asks the vDSO for the time, by the address that the
// function had at the start, and the kernel as well. Its name says how often they agreed. Built as counter.c is.
#include <elf.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

static long call(long number, long first, long second) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
    return result;
}

static int same(const char *one, const char *other) {
    while (*one != 0 && *one == *other)
        one++, other++;
    return *one == *other;
}

typedef long clock_function(long clock, struct timespec *time);

static clock_function *find(const char *image) {
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_DYNSYM)
            continue;
        const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (uint64_t k = 0; k < sections[i].sh_size / sizeof *symbols; k++)
            if (same(names + symbols[k].st_name, "__vdso_clock_gettime"))
                return (clock_function *)(image + symbols[k].st_value);
    }
    return 0;
}

static char name[] = "count-0000";
static volatile uint32_t count;

static long nanoseconds(const struct timespec *time) { return time->tv_sec * 1000000000L + time->tv_nsec; }

__attribute__((used)) static void run(const uint64_t *stack) {
    while (*stack++ != 0) // the number of arguments is not, nor is any of them
        ;
    while (*stack++ != 0) // the environment
        ;
    while (stack[0] != AT_SYSINFO_EHDR)
        stack += 2;
    clock_function *ask = find((const char *)stack[1]);
    for (;;) {
        struct timespec before, between, after;
        call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&before);
        const long failed = ask(CLOCK_MONOTONIC, &between);
        call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&after);
        if (failed != 0 || nanoseconds(&between) < nanoseconds(&before) || nanoseconds(&after) < nanoseconds(&between))
            call(SYS_exit_group, 1, 0);
        uint32_t rest = ++count;
        for (int digit = 9; digit >= 6; digit--, rest /= 10)
            name[digit] = (char)('0' + rest % 10);
        call(SYS_prctl, PR_SET_NAME, (long)name);
        const struct timespec tenth = {0, 100000000};
        call(SYS_nanosleep, (long)&tenth, 0);
    }
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
