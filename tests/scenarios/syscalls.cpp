// SPDX-License-Identifier: LGPL-2.1-or-later
// System calls that sleep are not seen to have been interrupted: nanosleep, read, futex, poll, wait4, epoll_wait,
// sigwaitinfo, semop.
#include "scenario.h"

#include <atomic>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/syscall.h>

namespace {

int read_ends[2];
int poll_ends[2];
std::atomic<int> word = 0;
pid_t child = 0;
std::atomic<int> entered = 0;
int epoll = -1;
int epoll_ends[2];
int semaphores = -1;

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

void *epoll_waiter(void *) {
    epoll_event event = {};
    ++entered;
    EQUAL(1, ::epoll_wait(epoll, &event, 1, -1));
    EQUAL(77, event.data.u32);
    return nullptr;
}

void *signal_waiter(void *) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR2);
    ++entered;
    EQUAL(SIGUSR2, ::sigwaitinfo(&set, nullptr));
    return nullptr;
}

void *semaphore_waiter(void *) {
    sembuf take = {0, -1, 0};
    ++entered;
    EQUAL(0, ::semop(semaphores, &take, 1));
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
    SYS(::pipe(epoll_ends));
    epoll = SYS(::epoll_create1(0));
    epoll_event event = {EPOLLIN, {.u32 = 77}};
    SYS(::epoll_ctl(epoll, EPOLL_CTL_ADD, epoll_ends[0], &event));
    semaphores = SYS(::semget(IPC_PRIVATE, 1, 0600));
    for (const short change : {short{1}, short{-1}}) { // whoever has not touched it does not use it
        sembuf touch = {0, change, 0};
        SYS(::semop(semaphores, &touch, 1));
    }
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR2);
    SYS(::sigprocmask(SIG_BLOCK, &set, nullptr));
    constexpr int count = 8;
    pthread_t threads[count] = {};
    void *(*const functions[count])(void *) = {sleeper, reader,       waker,         poller,
                                               waiter,  epoll_waiter, signal_waiter, semaphore_waiter};
    for (int i = 0; i < count; ++i)
        EQUAL(0, pthread_create(&threads[i], nullptr, functions[i], nullptr));
    while (entered != count)
        ::usleep(1000);
    ::usleep(50000);
    scenario::ready();
    scenario::wait();
    EQUAL(1, ::write(read_ends[1], "r", 1));
    EQUAL(1, ::write(poll_ends[1], "p", 1));
    EQUAL(1, ::write(epoll_ends[1], "e", 1));
    SYS(::kill(::getpid(), SIGUSR2));
    sembuf give = {0, 1, 0};
    SYS(::semop(semaphores, &give, 1));
    word = 1;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    SYS(::kill(child, SIGTERM));
    for (const pthread_t thread : threads)
        EQUAL(0, pthread_join(thread, nullptr));
    scenario::pass();
}
