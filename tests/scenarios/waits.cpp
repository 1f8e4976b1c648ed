// SPDX-License-Identifier: LGPL-2.1-or-later
// Waits that tell of each interruption (signal(7)) are not told of ours, and go on with what was left of their time.
// Time in which this program does not run does not count.
#include "scenario.h"

#include <array>
#include <atomic>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/syscall.h>

namespace {

constexpr double asked = 8;        // seconds
constexpr double before = 4;       // of them have passed when we are ready
constexpr double late = asked + 2; // begun anew it would be more than asked + before

std::atomic<int> entered = 0;
std::atomic<double> awake = 0; // seconds that we have run
int epoll = -1;
int semaphores = -1;

double now() {
    timespec time = {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Looks at the clock all the time: a gap is a time in which we were not there.
void *watch(void *) {
    for (double last = now();;) {
        ::usleep(5000);
        const double time = now();
        awake = awake + (time - last < 0.3 ? time - last : 0);
        last = time;
    }
}

// The call, which has to end of itself.
template <class Call> void wait_by(const char *what, Call call) {
    const double begin = now(), awake_then = awake;
    ++entered;
    call();
    const double waited = now() - begin, ran = awake - awake_then;
    if (waited < asked)
        scenario::failed(__FILE__, __LINE__, std::string(what) + " ended after " + std::to_string(waited) + " s");
    if (ran > late)
        scenario::failed(__FILE__, __LINE__, std::string(what) + " took " + std::to_string(ran) + " s");
}

const timespec time_asked = {static_cast<time_t>(asked), 0};

void *epoll_waiter(void *) {
    epoll_event event = {};
    wait_by("epoll_wait", [&] { EQUAL(0, ::epoll_wait(epoll, &event, 1, static_cast<int>(asked * 1000))); });
    return nullptr;
}
void *epoll_waiter_with_time(void *) {
    epoll_event event = {};
    wait_by("epoll_pwait2", [&] { EQUAL(0, ::syscall(SYS_epoll_pwait2, epoll, &event, 1, &time_asked, nullptr, 0)); });
    return nullptr;
}
void *signal_waiter(void *) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR2);
    wait_by("sigtimedwait", [&] {
        EQUAL(-1, ::sigtimedwait(&set, nullptr, &time_asked));
        EQUAL(EAGAIN, errno);
    });
    return nullptr;
}
void *semaphore_waiter(void *) {
    sembuf take = {0, -1, 0};
    wait_by("semtimedop", [&] {
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
    for (const short change : {1, -1}) { // whoever has not touched it does not use it
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
