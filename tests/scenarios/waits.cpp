// SPDX-License-Identifier: LGPL-2.1-or-later
// Waits that tell of each interruption (signal(7)) are not told of ours, and go on with what was left of their time.
// Time in which this program does not run does not count.
#include "timed_calls.h"

#include <array>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/syscall.h>

using namespace timed_calls;

namespace {

int epoll = -1;
int semaphores = -1;

void *epoll_waiter(void *) {
    epoll_event event = {};
    timed("epoll_wait", [&] { EQUAL(0, ::epoll_wait(epoll, &event, 1, static_cast<int>(asked * 1000))); });
    return nullptr;
}
void *epoll_waiter_with_time(void *) {
    epoll_event event = {};
    timed("epoll_pwait2", [&] { EQUAL(0, ::syscall(SYS_epoll_pwait2, epoll, &event, 1, &time_asked, nullptr, 0)); });
    return nullptr;
}
void *signal_waiter(void *) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR2);
    timed("sigtimedwait", [&] {
        EQUAL(-1, ::sigtimedwait(&set, nullptr, &time_asked));
        EQUAL(EAGAIN, errno);
    });
    return nullptr;
}
void *semaphore_waiter(void *) {
    sembuf take = {0, -1, 0};
    timed("semtimedop", [&] {
        EQUAL(-1, ::semtimedop(semaphores, &take, 1, &time_asked));
        EQUAL(EAGAIN, errno);
    });
    return nullptr;
}

// Shorter than is worth a look: anew.
std::atomic<bool> over = false;
void *short_waiter(void *) {
    epoll_event event = {};
    ++entered;
    while (!over)
        EQUAL(0, ::epoll_wait(epoll, &event, 1, 700));
    return nullptr;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    epoll = SYS(::epoll_create1(EPOLL_CLOEXEC));
    semaphores = SYS(::semget(IPC_PRIVATE, 1, 0600));
    for (const short change : {short{1}, short{-1}}) { // whoever has not touched it does not use it
        sembuf touch = {0, change, 0};
        SYS(::semop(semaphores, &touch, 1));
    }
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR2);
    SYS(::sigprocmask(SIG_BLOCK, &set, nullptr));
    pthread_t watcher = {};
    EQUAL(0, pthread_create(&watcher, nullptr, watch, nullptr));
    std::array<void *(*)(void *), 5> functions = {epoll_waiter, epoll_waiter_with_time, signal_waiter, semaphore_waiter,
                                                  short_waiter};
    std::array<pthread_t, 5> threads = {};
    for (size_t i = 0; i < threads.size(); ++i)
        EQUAL(0, pthread_create(&threads.at(i), nullptr, functions.at(i), nullptr));
    while (entered != static_cast<int>(threads.size()))
        ::usleep(1000);
    while (awake < before)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    over = true;
    for (const pthread_t thread : threads)
        EQUAL(0, pthread_join(thread, nullptr));
    EQUAL(8, time_asked.tv_sec);
    scenario::pass();
}
