// SPDX-License-Identifier: LGPL-2.1-or-later
// Functions of the vDSO, called by the addresses that they had at the start, as the C library does; and a process that
// hardly does anything else.
#include "scenario.h"

#include <ctime>
#include <map>

#include <elf.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

using namespace scenario;

namespace {

using Functions = std::map<std::string, void *>;

// By the section headers, which the kernel leaves in.
Functions functions() {
    Functions found;
    const auto *image = reinterpret_cast<const char *>(::getauxval(AT_SYSINFO_EHDR)); // NOLINT
    CHECK(image != nullptr);
    const auto *header = reinterpret_cast<const Elf64_Ehdr *>(image);                     // NOLINT
    const auto *sections = reinterpret_cast<const Elf64_Shdr *>(image + header->e_shoff); // NOLINT
    for (int i = 0; i < header->e_shnum; ++i) {
        if (sections[i].sh_type != SHT_DYNSYM)
            continue;
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        const auto *symbols = reinterpret_cast<const Elf64_Sym *>(image + sections[i].sh_offset); // NOLINT
        for (size_t k = 0; k < sections[i].sh_size / sizeof *symbols; ++k)
            if (ELF64_ST_BIND(symbols[k].st_info) == STB_GLOBAL && ELF64_ST_TYPE(symbols[k].st_info) == STT_FUNC)
                found[names + symbols[k].st_name] = const_cast<char *>(image) + symbols[k].st_value; // NOLINT
    }
    return found;
}

template <class T> T *function(const Functions &all, const char *name) {
    const auto found = all.find(name);
    return found == all.end() ? nullptr : reinterpret_cast<T *>(found->second); // NOLINT
}

long nanoseconds(const timespec &time) { return time.tv_sec * 1000000000L + time.tv_nsec; }

// Each says what the system call says.
void ask(const Functions &all) {
    auto *get_time = function<int(clockid_t, timespec *)>(all, "__vdso_clock_gettime");
    CHECK(get_time != nullptr);
    for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID}) {
        timespec before = {};
        timespec between = {};
        timespec after = {};
        SYS(::syscall(SYS_clock_gettime, clock, &before));
        EQUAL(0, get_time(clock, &between));
        SYS(::syscall(SYS_clock_gettime, clock, &after));
        CHECK(nanoseconds(before) <= nanoseconds(between) && nanoseconds(between) <= nanoseconds(after));
    }
    if (auto *get_day = function<int(timeval *, void *)>(all, "__vdso_gettimeofday")) {
        timeval day = {};
        EQUAL(0, get_day(&day, nullptr));
        CHECK(std::abs(day.tv_sec - ::syscall(SYS_time, nullptr)) < 2);
    }
    if (auto *seconds = function<time_t(time_t *)>(all, "__vdso_time"))
        CHECK(std::abs(seconds(nullptr) - ::syscall(SYS_time, nullptr)) < 2);
    if (auto *resolution = function<int(clockid_t, timespec *)>(all, "__vdso_clock_getres")) {
        timespec fine = {};
        EQUAL(0, resolution(CLOCK_MONOTONIC, &fine));
        EQUAL(1, nanoseconds(fine));
    }
    if (auto *get_cpu = function<long(unsigned *, unsigned *, void *)>(all, "__vdso_getcpu")) {
        unsigned cpu = ~0U;
        EQUAL(0, get_cpu(&cpu, nullptr, nullptr));
        CHECK(cpu < static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_CONF)));
    }
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    const Functions all = functions();
    ask(all);
    auto *const asks = static_cast<volatile unsigned *>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const pid_t child = fork_child();
    if (child == 0) {
        auto *get_time = function<int(clockid_t, timespec *)>(all, "__vdso_clock_gettime");
        timespec last = {};
        for (timespec now = {}; !told(0); last = now) { // most of its time is spent within the vDSO
            for (int i = 0; i < 10000; ++i)
                CHECK(get_time(CLOCK_MONOTONIC, &now) == 0 && nanoseconds(now) >= nanoseconds(last));
            *asks = *asks + 1;
        }
        ask(all);
        ::_exit(7);
    }
    while (*asks == 0)
        ::usleep(1000);
    ready();
    wait();
    ask(all);
    const unsigned before = *asks;
    while (*asks == before)
        ::usleep(1000);
    CHECK(::getauxval(AT_SYSINFO_EHDR) != 0 && functions() == all);
    SYS(::kill(child, SIGTERM));
    EQUAL(7, exit_status(child));
    pass();
}
