// SPDX-License-Identifier: LGPL-2.1-or-later
// Sleeps with a relative time go on with what was left of it. Time in which this program does not run does not count.
#include "timed_calls.h"

#include <array>

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

using namespace timed_calls;

namespace {

int poll_ends[2];

void *plain(void *) {
    timed("nanosleep", [] { EQUAL(0, ::syscall(SYS_nanosleep, &time_asked, nullptr)); });
    return nullptr;
}
void *with_rest(void *) {
    timespec rest = {};
    timed("nanosleep with a rest", [&] { EQUAL(0, ::nanosleep(&time_asked, &rest)); });
    return nullptr;
}
void *by_clock(void *) {
    timed("clock_nanosleep", [] { EQUAL(0, ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time_asked, nullptr)); });
    return nullptr;
}
void *poller(void *) {
    pollfd entry = {poll_ends[0], POLLIN, 0};
    timed("poll", [&] { EQUAL(0, ::poll(&entry, 1, static_cast<int>(asked * 1000))); });
    return nullptr;
}
void *by_futex(void *) {
    int word = 0;
    timed("futex", [&] {
        EQUAL(-1, ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time_asked, nullptr, 0));
        EQUAL(ETIMEDOUT, errno);
    });
    return nullptr;
}
// Its end comes in a call that the kernel was to restart before.
void stop_and_continue() {
    const pid_t self = ::getpid();
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        ::kill(self, SIGSTOP);
        ::usleep(50000);
        ::kill(self, SIGCONT);
        ::_exit(0);
    }
    EQUAL(0, scenario::exit_status(child));
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    SYS(::pipe(poll_ends));
    pthread_t watcher = {};
    EQUAL(0, pthread_create(&watcher, nullptr, watch, nullptr));
    std::array<void *(*)(void *), 5> functions = {plain, with_rest, by_clock, poller, by_futex};
    std::array<pthread_t, 5> threads = {};
    for (size_t i = 0; i < threads.size(); ++i)
        EQUAL(0, pthread_create(&threads.at(i), nullptr, functions.at(i), nullptr));
    while (entered != static_cast<int>(threads.size()))
        ::usleep(1000);
    ::usleep(1000000);
    stop_and_continue();
    while (awake < before)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    for (const pthread_t thread : threads)
        EQUAL(0, pthread_join(thread, nullptr));
    scenario::pass();
}
