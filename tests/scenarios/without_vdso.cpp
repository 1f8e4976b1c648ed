// SPDX-License-Identifier: LGPL-2.1-or-later
// A process that has unmapped its vDSO, and one that has not.
#include "scenario.h"

#include <sys/mman.h>
#include <sys/syscall.h>

using namespace scenario;

namespace {

// Nothing that the C library does here may ask for the time.
void unmap_vdso() {
    for (const char *name : {"[vvar]", "[vvar_vclock]", "[vdso]"}) {
        std::istringstream maps(read_file("/proc/self/maps"));
        for (std::string line; std::getline(maps, line);) {
            if (!line.ends_with(name))
                continue;
            const unsigned long start = std::stoul(line, nullptr, 16);
            const unsigned long end = std::stoul(line.substr(line.find('-') + 1), nullptr, 16);
            SYS(::munmap(reinterpret_cast<void *>(start), end - start)); // NOLINT
        }
    }
}

bool has_vdso() { return read_file("/proc/self/maps").find("[v") < read_file("/proc/self/maps").find("[vsyscall]"); }

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    const pid_t child = fork_child();
    if (child == 0) {
        unmap_vdso();
        sigset_t term;
        ::sigemptyset(&term);
        ::sigaddset(&term, SIGTERM);
        int number = 0;
        ::sigwait(&term, &number);
        ::_exit(has_vdso() ? 1 : 7);
    }
    const std::string maps = "/proc/" + std::to_string(child) + "/maps";
    while (read_file(maps).find("[vdso]") != std::string::npos)
        ::usleep(1000);
    ready();
    wait();
    CHECK(has_vdso());
    EQUAL(std::string::npos, read_file(maps).find("[vdso]"));
    SYS(::kill(child, SIGTERM));
    EQUAL(7, exit_status(child));
    pass();
}
