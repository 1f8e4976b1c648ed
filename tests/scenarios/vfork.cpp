// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread that waits in vfork(2) until its child starts a program, which takes the child a while.
#include "scenario.h"

#include <atomic>
#include <thread>

#include <sched.h>
#include <sys/syscall.h>

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    std::atomic<pid_t> child = 0;
    std::thread starter([&] {
        // the child runs on this stack, in this memory: it may do little more than this
        const pid_t pid = ::vfork(); // NOLINT: what it is about
        if (pid == 0) {
            ::syscall(SYS_close_range, 3U, ~0U, 0U); // NOLINT: what its program will not have
            child = static_cast<pid_t>(::syscall(SYS_getpid));
            const timespec while_ = {0, 300000000};
            ::syscall(SYS_nanosleep, &while_, nullptr);
            ::execl("/bin/sleep", "sleep", "1000", nullptr);
            ::_exit(1);
        }
    });
    while (child == 0)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    starter.join(); // it has gone on
    CHECK(child > 0);
    SYS(::kill(child, SIGKILL));
    EQUAL(128 + SIGKILL, scenario::exit_status(child));
    scenario::pass();
}
