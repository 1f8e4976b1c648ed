// SPDX-License-Identifier: LGPL-2.1-or-later
// A process tree: sessions, groups, a zombie with its status, a stopped job, an orphan below a subreaper.
#include "scenario.h"

#include <sys/prctl.h>

namespace {

char state_of(pid_t pid) {
    const std::string stat = scenario::read_file("/proc/" + std::to_string(pid) + "/stat");
    const auto end = stat.rfind(')');
    return end == std::string::npos ? '-' : stat[end + 2];
}

pid_t parent_of(pid_t pid) {
    const std::string stat = scenario::read_file("/proc/" + std::to_string(pid) + "/stat");
    const auto end = stat.rfind(')');
    return end == std::string::npos ? 0 : std::atoi(stat.c_str() + end + 4);
}

template <class Condition> void until(Condition condition) {
    for (int i = 0; i < 5000 && !condition(); ++i)
        ::usleep(1000);
    CHECK(condition());
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    SYS(::prctl(PR_SET_CHILD_SUBREAPER, 1));
    const pid_t root = ::getpid();

    const pid_t leader = scenario::fork_child(); // a session of its own, with a group in it
    if (leader == 0) {
        ::setsid();
        const pid_t member = SYS(::fork());
        if (member == 0) {
            ::setpgid(0, 0);
            scenario::wait();
            EQUAL(leader == 0 ? ::getppid() : 0, ::getsid(0));
            EQUAL(::getpid(), ::getpgrp());
            ::_exit(11);
        }
        scenario::wait();
        EQUAL(::getpid(), ::getsid(0));
        EQUAL(root, ::getppid());
        EQUAL(0, ::kill(member, SIGTERM));
        EQUAL(11, scenario::exit_status(member));
        ::_exit(12);
    }
    const pid_t stopped = scenario::fork_child();
    if (stopped == 0) {
        ::setpgid(0, 0);
        ::raise(SIGSTOP);
        scenario::wait();
        ::_exit(13);
    }
    // another signal than SIGSTOP, where a shell would see it: in a group of its own with its parent in ours
    const pid_t suspended = scenario::fork_child();
    if (suspended == 0) {
        ::setpgid(0, 0);
        ::raise(SIGTSTP);
        scenario::wait();
        ::_exit(15);
    }
    const pid_t zombie = scenario::fork_child();
    if (zombie == 0)
        ::_exit(42);
    const pid_t killed = scenario::fork_child();
    if (killed == 0) {
        ::raise(SIGKILL);
        ::_exit(0);
    }
    int ends[2];
    SYS(::pipe(ends));
    const pid_t between = scenario::fork_child();
    if (between == 0) {
        const pid_t orphan = SYS(::fork());
        if (orphan == 0) {
            ::close(ends[0]);
            ::close(ends[1]);
            scenario::wait();
            EQUAL(root, ::getppid());
            ::_exit(14);
        }
        ::_exit(::write(ends[1], &orphan, sizeof orphan) == sizeof orphan ? 0 : 1);
    }
    pid_t orphan = 0;
    EQUAL(sizeof orphan, ::read(ends[0], &orphan, sizeof orphan));
    EQUAL(0, scenario::exit_status(between));
    ::close(ends[0]);
    ::close(ends[1]);

    until([&] { return state_of(stopped) == 'T' && state_of(suspended) == 'T'; });
    until([&] { return state_of(zombie) == 'Z' && state_of(killed) == 'Z'; });
    until([&] { return ::getsid(leader) == leader && parent_of(orphan) == root; });
    const pid_t session = ::getsid(0);
    ::usleep(50000);
    scenario::ready();
    scenario::wait();

    EQUAL(root, ::getpid());
    EQUAL(session, ::getsid(0));
    EQUAL('T', state_of(stopped));
    EQUAL('Z', state_of(zombie));
    EQUAL(scenario::read_file("/proc/self/comm"), scenario::read_file("/proc/" + std::to_string(zombie) + "/comm"));
    EQUAL('Z', state_of(killed));
    int why = 0;
    EQUAL(suspended, SYS(::waitpid(suspended, &why, WUNTRACED)));
    CHECK(WIFSTOPPED(why));
    EQUAL(SIGTSTP, WSTOPSIG(why));
    SYS(::kill(suspended, SIGCONT));
    EQUAL(root, parent_of(orphan));
    EQUAL(leader, ::getsid(leader));
    EQUAL(stopped, ::getpgid(stopped));
    EQUAL(42, scenario::exit_status(zombie));
    EQUAL(128 + SIGKILL, scenario::exit_status(killed));
    int status = 0;
    SYS(::kill(stopped, SIGCONT));
    EQUAL(stopped, SYS(::waitpid(stopped, &status, WCONTINUED)));
    CHECK(WIFCONTINUED(status));
    for (const auto &[child, code] :
         {std::pair(stopped, 13), std::pair(suspended, 15), std::pair(leader, 12), std::pair(orphan, 14)}) {
        SYS(::kill(child, SIGTERM));
        EQUAL(code, scenario::exit_status(child));
    }
    EQUAL(-1, ::waitpid(-1, nullptr, WNOHANG));
    EQUAL(ECHILD, errno);
    scenario::pass();
}
