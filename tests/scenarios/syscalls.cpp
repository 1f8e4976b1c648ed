// SPDX-License-Identifier: LGPL-2.1-or-later
// System calls that sleep are not seen to have been interrupted: nanosleep, read, futex, poll, wait4.
#include "scenario.h"

#include <atomic>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

namespace {

int read_ends[2];
int poll_ends[2];
std::atomic<int> word = 0;
pid_t child = 0;
std::atomic<int> entered = 0;

double now() {
    timespec time = {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void *sleeper(void *) {
    const double begin = now();
    const timespec time = {2, 0};
    ++entered;
    const int result = ::nanosleep(&time, nullptr);
    EQUAL(0, result);
    CHECK(now() - begin >= 2.0);
    return nullptr;
}

void *reader(void *) {
    char byte = 0;
    ++entered;
    const ssize_t result = ::read(read_ends[0], &byte, 1);
    EQUAL(1, result);
    EQUAL('r', byte);
    return nullptr;
}

void *waker(void *) {
    ++entered;
    const long result = ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
    // the kernel may wake without a reason, but it never says EINTR after a mere stop
    CHECK(result == 0 || errno == EAGAIN);
    EQUAL(1, word.load());
    return nullptr;
}

void *poller(void *) {
    pollfd entry = {poll_ends[0], POLLIN, 0};
    ++entered;
    const int result = ::poll(&entry, 1, 600000);
    EQUAL(1, result);
    EQUAL(POLLIN, entry.revents);
    return nullptr;
}

void *waiter(void *) {
    int status = 0;
    ++entered;
    const pid_t result = ::wait4(child, &status, 0, nullptr);
    EQUAL(child, result);
    EQUAL(9, WEXITSTATUS(status));
    return nullptr;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    SYS(::pipe(read_ends));
    SYS(::pipe(poll_ends));
    child = scenario::fork_child();
    if (child == 0) {
        scenario::wait();
        ::_exit(9);
    }
    pthread_t threads[5] = {};
    void *(*const functions[5])(void *) = {sleeper, reader, waker, poller, waiter};
    for (int i = 0; i < 5; ++i)
        EQUAL(0, pthread_create(&threads[i], nullptr, functions[i], nullptr));
    while (entered != 5)
        ::usleep(1000);
    ::usleep(50000);
    scenario::ready();
    scenario::wait();
    EQUAL(1, ::write(read_ends[1], "r", 1));
    EQUAL(1, ::write(poll_ends[1], "p", 1));
    word = 1;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    SYS(::kill(child, SIGTERM));
    for (const pthread_t thread : threads)
        EQUAL(0, pthread_join(thread, nullptr));
    scenario::pass();
}
