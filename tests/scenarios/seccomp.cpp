// SPDX-License-Identifier: LGPL-2.1-or-later
// System call filters: their order, those of single threads, those that all threads share, strict mode; also filters
// that would kill a program for what a checkpoint asks of it.
#include "scenario.h"

#include <cstddef>
#include <initializer_list>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace {

unsigned refuse_with(int error) { return SECCOMP_RET_ERRNO | static_cast<unsigned>(error); }

long set_filter(unsigned flags, std::initializer_list<std::pair<long, unsigned>> answers) {
    std::vector<sock_filter> program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const auto &[call, answer] : answers) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, answer));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog given = {static_cast<unsigned short>(program.size()), program.data()};
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &given);
}

int error_of(long call) { return ::syscall(call, 0) == -1 ? errno : 0; }

// A child in strict mode, which waits for a byte and then makes `call`.
pid_t strict_child(const int (&ends)[2], long call) {
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        ::close(ends[1]);
        SYS(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
        char byte = 0;
        while (::read(ends[0], &byte, 1) != 1) {
        }
        ::syscall(call, 7);
        ::syscall(SYS_exit, 8);
    }
    return child;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    int ends[2];
    SYS(::pipe(ends));
    const pid_t obeys = strict_child(ends, SYS_exit);
    const pid_t breaks = strict_child(ends, SYS_getpid);

    SYS(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    // what a checkpoint asks of a program ends it here
    SYS(set_filter(SECCOMP_FILTER_FLAG_LOG, {{SYS_getppid, refuse_with(71)},
                                             {SYS_sigaltstack, SECCOMP_RET_KILL_PROCESS},
                                             {SYS_getitimer, SECCOMP_RET_KILL_PROCESS}}));
    std::binary_semaphore set{0};
    std::binary_semaphore checked{0};
    std::thread other([&] {
        SYS(set_filter(0, {{SYS_getppid, refuse_with(72)}, {SYS_getpgid, refuse_with(73)}}));
        set.release();
        scenario::wait();
        EQUAL(72, error_of(SYS_getppid)); // of two that refuse, the newer one is heard
        EQUAL(73, error_of(SYS_getpgid));
        // only among threads whose filters are of one family
        EQUAL(0, set_filter(SECCOMP_FILTER_FLAG_TSYNC, {{SYS_getsid, refuse_with(74)}}));
        checked.release();
    });
    set.acquire();
    SYS(::setresuid(2001, 2001, 2001));
    ::usleep(50000); // until the children wait
    scenario::ready();

    // the thread that is told tells the other by its end
    while (!checked.try_acquire_for(std::chrono::milliseconds(100))) {
        EQUAL(false, error_of(SYS_getppid) == 0);
    }
    other.join();
    EQUAL(74, error_of(SYS_getsid));
    EQUAL(72, error_of(SYS_getppid)); // now shared
    EQUAL("\t2", scenario::status_line("Seccomp"));
    EQUAL("\t3", scenario::status_line("Seccomp_filters"));
    EQUAL(2, ::write(ends[1], "xx", 2));
    EQUAL(7, scenario::exit_status(obeys));
    EQUAL(128 + SIGKILL, scenario::exit_status(breaks));
    scenario::pass();
}
