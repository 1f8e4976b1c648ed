// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes that share their descriptor table, their directory and umask, or both (CLONE_FILES, CLONE_FS).
#include "scenario.h"

#include <array>
#include <sched.h>
#include <sys/syscall.h>

namespace {

std::string here() {
    char name[4096] = {};
    return ::getcwd(name, sizeof name) == nullptr ? "" : name;
}

// As fork(2), with more in common.
pid_t clone_child(unsigned long flags) {
    const long pid = SYS(::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    return static_cast<pid_t>(pid);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    SYS(::mkdir(scenario::path("one").c_str(), 0755));
    SYS(::mkdir(scenario::path("two").c_str(), 0755));
    SYS(::chdir(scenario::path("one").c_str()));
    const std::string one = here();
    const std::string two = scenario::path("two");
    int ends[2];
    SYS(::pipe(ends));
    for (const unsigned long flags : {CLONE_FILES | CLONE_FS, CLONE_FILES, CLONE_FS}) {
        const pid_t child = clone_child(flags);
        if (child != 0)
            continue;
        scenario::wait();
        // the first of them opens 200 for all that share the table, and moves those that share the place
        char order = 0;
        EQUAL(1, ::read(ends[0], &order, 1));
        if (order == 'o') {
            EQUAL(200, ::dup2(ends[1], 200));
            SYS(::chdir(two.c_str()));
            ::umask(0172);
        }
        ::_exit(0);
    }
    std::array<pid_t, 3> children = {};
    const std::string list = scenario::read_file("/proc/self/task/" + std::to_string(::getpid()) + "/children");
    EQUAL(3, std::sscanf(list.c_str(), "%d %d %d", children.data(), &children[1], &children[2]));
    scenario::ready();
    scenario::wait();
    EQUAL(one, here());
    EQUAL(1, ::write(ends[1], "o", 1));
    SYS(::kill(children[0], SIGTERM));
    EQUAL(0, scenario::exit_status(children[0]));
    CHECK(::fcntl(200, F_GETFD) >= 0);
    EQUAL(two, here());
    EQUAL(0172, ::umask(0172));
    SYS(::close(200));
    for (const size_t i : {1UL, 2UL}) {
        EQUAL(1, ::write(ends[1], "o", 1));
        SYS(::chdir(one.c_str()));
        SYS(::kill(children[i], SIGTERM));
        EQUAL(0, scenario::exit_status(children[i]));
        EQUAL(i == 1, ::fcntl(200, F_GETFD) >= 0);
        EQUAL(i == 1 ? one : two, here());
        ::close(200);
    }
    scenario::pass();
}
