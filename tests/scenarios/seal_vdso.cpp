// SPDX-License-Identifier: LGPL-2.1-or-later
// To be loaded into a program before all else (LD_PRELOAD of ld.so(8)): seals its vDSO (mseal(2)), as a kernel with
// CONFIG_MSEAL_SYSTEM_MAPPINGS does with that of every program.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <sys/syscall.h>
#include <unistd.h>

namespace {

[[gnu::constructor]] void seal_vdso() {
    constexpr long mseal = 462;
    FILE *const maps = std::fopen("/proc/self/maps", "re");
    char line[512];
    while (maps != nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
        unsigned long start = 0;
        unsigned long end = 0;
        if (std::strstr(line, "[vdso]") != nullptr && std::sscanf(line, "%lx-%lx", &start, &end) == 2 &&
            ::syscall(mseal, start, end - start, 0) < 0)
            std::perror("mseal");
    }
    if (maps != nullptr)
        (void)std::fclose(maps);
}

} // namespace
