// SPDX-License-Identifier: LGPL-2.1-or-later
// More namespaces than fit into a byte: hundreds of processes with a name of the host of their own, and after them one
// in a pid namespace with the /proc of that.
#include "scenario.h"

#include <utility>
#include <vector>

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

namespace {

constexpr int count = 300;

std::string name_of(int number) { return "host-" + std::to_string(number); }

std::string name_seen_by(pid_t pid) {
    const int own = SYS(::open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));
    const int there = SYS(::open(("/proc/" + std::to_string(pid) + "/ns/uts").c_str(), O_RDONLY | O_CLOEXEC));
    SYS(::setns(there, CLONE_NEWUTS));
    char name[256] = {};
    SYS(::gethostname(name, sizeof name));
    SYS(::setns(own, CLONE_NEWUTS));
    ::close(own);
    ::close(there);
    return name;
}

int told[2];

void tell() { SYS(::write(told[1], "x", 1)); }
void hear() {
    char byte = 0;
    EQUAL(1, ::read(told[0], &byte, 1));
}

[[noreturn]] void named(int number) {
    SYS(::unshare(CLONE_NEWUTS));
    const std::string name = name_of(number);
    SYS(::sethostname(name.data(), name.size()));
    tell();
    for (;;)
        ::pause();
}

[[noreturn]] void first_process() {
    ::close(std::exchange(scenario::ready_pipe, -1));
    EQUAL(1, ::getpid());
    SYS(::unshare(CLONE_NEWNS));
    SYS(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    const std::string proc = scenario::path("proc");
    SYS(::mount("proc", proc.c_str(), "proc", 0, nullptr));
    tell();
    scenario::wait();
    char target[16] = {};
    SYS(::readlink((proc + "/self").c_str(), target, sizeof target - 1));
    EQUAL(std::string("1"), std::string(target));
    ::_exit(0);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    SYS(::mkdir(scenario::path("proc").c_str(), 0755));
    SYS(::pipe(told));
    std::vector<pid_t> all;
    for (int i = 0; i < count; ++i) {
        all.push_back(scenario::fork_child());
        if (all.back() == 0)
            named(i);
        hear();
    }
    const auto first = static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, 0));
    if (first == 0)
        first_process();
    hear();
    scenario::ready();
    scenario::wait();

    for (int i = 0; i < count; ++i) {
        EQUAL(name_of(i), name_seen_by(all[static_cast<size_t>(i)]));
        SYS(::kill(all[static_cast<size_t>(i)], SIGKILL));
        EQUAL(128 + SIGKILL, scenario::exit_status(all[static_cast<size_t>(i)]));
    }
    SYS(::kill(first, SIGTERM));
    EQUAL(0, scenario::exit_status(first));
    scenario::pass();
}
