// SPDX-License-Identifier: LGPL-2.1-or-later
// eventfd, epoll with its targets, signalfd, timerfd.
#include "scenario.h"

#include <cstdint>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int counter = SYS(::eventfd(41, EFD_NONBLOCK));
    const int semaphore = SYS(::eventfd(2, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK));
    int ends[2];
    SYS(::pipe(ends));
    const int poll = SYS(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event = {EPOLLIN | EPOLLET, {.u64 = 0x1122334455667788}};
    SYS(::epoll_ctl(poll, EPOLL_CTL_ADD, ends[0], &event));
    event = {EPOLLIN, {.u64 = 99}};
    SYS(::epoll_ctl(poll, EPOLL_CTL_ADD, counter, &event));
    const int copy = SYS(::dup(ends[0])); // stays registered under a number that is closed
    event = {EPOLLIN | EPOLLONESHOT, {.u64 = 5}};
    SYS(::epoll_ctl(poll, EPOLL_CTL_ADD, copy, &event));
    const int outer = SYS(::epoll_create1(0));
    event = {EPOLLIN, {.u64 = 7}};
    SYS(::epoll_ctl(outer, EPOLL_CTL_ADD, poll, &event));
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    SYS(::sigprocmask(SIG_BLOCK, &mask, nullptr));
    const int signals = SYS(::signalfd(-1, &mask, SFD_NONBLOCK));
    SYS(::raise(SIGUSR1));
    const int timer = SYS(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    const itimerspec far = {{77, 0}, {5000, 0}};
    SYS(::timerfd_settime(timer, 0, &far, nullptr));
    const int ticking = SYS(::timerfd_create(CLOCK_MONOTONIC, 0));
    const itimerspec often = {{0, 20000000}, {0, 20000000}};
    SYS(::timerfd_settime(ticking, 0, &often, nullptr));
    const int stopped = SYS(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC));
    scenario::ready();
    scenario::wait();

    std::uint64_t value = 0;
    epoll_event found[4] = {};
    EQUAL(1, ::epoll_wait(outer, found, 4, 0));
    EQUAL(7, found[0].data.u64);
    EQUAL(1, ::epoll_wait(poll, found, 4, 0));
    EQUAL(99, found[0].data.u64);
    EQUAL(8, ::read(counter, &value, 8));
    EQUAL(41, value);
    EQUAL(0, ::epoll_wait(poll, found, 4, 0));
    EQUAL(1, ::write(ends[1], "e", 1));
    EQUAL(2, ::epoll_wait(poll, found, 4, 1000));
    const std::uint64_t one = found[0].data.u64;
    const std::uint64_t other = found[1].data.u64;
    CHECK((one == 5 && other == 0x1122334455667788) || (one == 0x1122334455667788 && other == 5));
    EQUAL(0, ::epoll_wait(poll, found, 4, 0)); // edge seen, one shot fired
    for (int i = 0; i < 2; ++i) {
        EQUAL(8, ::read(semaphore, &value, 8));
        EQUAL(1, value);
    }
    EQUAL(-1, ::read(semaphore, &value, 8));
    EQUAL(EAGAIN, errno);
    signalfd_siginfo info = {};
    EQUAL(sizeof info, ::read(signals, &info, sizeof info));
    EQUAL(SIGUSR1, info.ssi_signo);
    itimerspec left = {};
    SYS(::timerfd_gettime(timer, &left));
    EQUAL(77, left.it_interval.tv_sec);
    CHECK(left.it_value.tv_sec > 4900 && left.it_value.tv_sec <= 5000);
    EQUAL(8, ::read(ticking, &value, 8));
    CHECK(value >= 1);
    EQUAL(8, ::read(ticking, &value, 8));
    SYS(::timerfd_gettime(stopped, &left));
    EQUAL(0, left.it_value.tv_sec);
    EQUAL(0, left.it_value.tv_nsec);
    scenario::pass();
}
