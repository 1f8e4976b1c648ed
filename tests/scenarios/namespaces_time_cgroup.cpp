// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes in time namespaces, whose clocks are ahead of the session's, and in cgroup namespaces of their own.
#include "scenario.h"

#include <cmath>

#include <ctime>
#include <sched.h>

namespace {

struct Pipe {
    int ends[2] = {};
    Pipe() { SYS(::pipe(ends)); }
    void tell() const { SYS(::write(ends[1], "x", 1)); }
    void wait() const {
        char byte = 0;
        ssize_t got = 0;
        while ((got = ::read(ends[0], &byte, 1)) < 0)
            EQUAL(EINTR, errno);
        EQUAL(1, got);
    }
};

double now(clockid_t clock) {
    timespec time = {};
    SYS(::clock_gettime(clock, &time));
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

struct Times {
    double monotonic = now(CLOCK_MONOTONIC), boottime = now(CLOCK_BOOTTIME);
};

Times ask(const Pipe &question, const Pipe &answer) {
    Times times;
    question.tell();
    EQUAL(sizeof times, ::read(answer.ends[0], &times, sizeof times));
    return times;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    static const Pipe go, ready, cgroup_go, cgroup_ready;
    const pid_t first = scenario::fork_child();
    if (first == 0) {
        SYS(::unshare(CLONE_NEWTIME));
        scenario::write_file("/proc/self/timens_offsets", "monotonic 5000 250000000\nboottime 9000 0\n");
        SYS(::setns(SYS(::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC)), CLONE_NEWTIME));
        ::close(::open("/dev/null", O_RDONLY)); // the namespace's descriptor stays, too
        for (;;) {
            go.wait();
            const Times times;
            SYS(::write(ready.ends[1], &times, sizeof times));
        }
    }
    const pid_t second = scenario::fork_child();
    if (second == 0) {
        SYS(::unshare(CLONE_NEWCGROUP));
        const std::string before = scenario::read_file("/proc/self/cgroup");
        cgroup_ready.tell();
        cgroup_go.wait();
        EQUAL(before, scenario::read_file("/proc/self/cgroup"));
        ::_exit(0);
    }
    cgroup_ready.wait();
    const auto near = [](double wanted, double found) { return std::abs(wanted - found) < 2; };
    const Times before = ask(go, ready);
    CHECK(near(5000.25, before.monotonic - now(CLOCK_MONOTONIC)));
    scenario::ready();
    scenario::wait();

    const Times after = ask(go, ready);
    CHECK(near(5000.25, after.monotonic - now(CLOCK_MONOTONIC)));
    CHECK(near(9000, after.boottime - now(CLOCK_BOOTTIME)));
    CHECK(after.monotonic >= before.monotonic);
    SYS(::kill(first, SIGKILL));
    EQUAL(128 + SIGKILL, scenario::exit_status(first));
    cgroup_go.tell();
    EQUAL(0, scenario::exit_status(second));
    scenario::pass();
}
