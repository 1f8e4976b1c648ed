// SPDX-License-Identifier: LGPL-2.1-or-later
// What /proc shows of a process: exe, comm, command line, environment, auxiliary vector.
#include "scenario.h"

#include <sys/prctl.h>

namespace {

std::string exe() {
    char name[4096] = {};
    (void)!::readlink("/proc/self/exe", name, sizeof name - 1);
    return name;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    std::strncpy(argv[0], "renamed", std::strlen(argv[0])); // as daemons do it
    SYS(::prctl(PR_SET_NAME, "new \n(name) 1"));
    const std::string image = exe();
    std::string before[5];
    const char *const names[] = {"cmdline", "environ", "auxv", "comm", "limits"};
    for (int i = 0; i < 5; ++i)
        before[i] = scenario::read_file(std::string("/proc/self/") + names[i]);
    CHECK(before[0].starts_with("renamed"));
    scenario::ready();
    scenario::wait();
    EQUAL(image, exe());
    for (int i = 0; i < 5; ++i)
        EQUAL(before[i], scenario::read_file(std::string("/proc/self/") + names[i]));
    scenario::pass();
}
