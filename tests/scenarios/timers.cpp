// SPDX-License-Identifier: LGPL-2.1-or-later
// Interval timers and POSIX timers keep their ids, intervals and what was left of their time.
#include "scenario.h"

#include <sys/time.h>
#include <time.h>

namespace {

volatile int value = 0;
volatile int fired = 0;

void on_timer(int, siginfo_t *info, void *) {
    value = info->si_value.sival_int;
    fired = fired + 1;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    struct sigaction action = {};
    action.sa_sigaction = on_timer;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    SYS(::sigaction(SIGRTMIN + 1, &action, nullptr));
    const itimerval real = {{700, 0}, {5000, 0}};
    const itimerval profile = {{800, 0}, {900, 0}};
    SYS(::setitimer(ITIMER_REAL, &real, nullptr));
    SYS(::setitimer(ITIMER_PROF, &profile, nullptr));

    sigevent event = {};
    event.sigev_notify = SIGEV_NONE;
    timer_t unused = nullptr;
    timer_t often = nullptr;
    timer_t late = nullptr;
    SYS(::timer_create(CLOCK_MONOTONIC, &event, &unused));
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGRTMIN + 1;
    event.sigev_value.sival_int = 4711;
    SYS(::timer_create(CLOCK_MONOTONIC, &event, &often));
    event.sigev_notify = SIGEV_NONE;
    SYS(::timer_create(CLOCK_REALTIME, &event, &late));
    SYS(::timer_delete(unused)); // a hole in the ids
    const itimerspec ticks = {{0, 50000000}, {0, 50000000}};
    const itimerspec far = {{0, 0}, {4000, 0}};
    SYS(::timer_settime(often, 0, &ticks, nullptr));
    SYS(::timer_settime(late, 0, &far, nullptr));
    scenario::ready();
    scenario::wait();

    itimerval left = {};
    SYS(::getitimer(ITIMER_REAL, &left));
    EQUAL(700, left.it_interval.tv_sec);
    CHECK(left.it_value.tv_sec > 4900 && left.it_value.tv_sec <= 5000);
    SYS(::getitimer(ITIMER_PROF, &left));
    EQUAL(800, left.it_interval.tv_sec);
    CHECK(left.it_value.tv_sec > 850 && left.it_value.tv_sec <= 900);
    itimerspec rest = {};
    SYS(::timer_gettime(late, &rest));
    EQUAL(0, rest.it_interval.tv_sec);
    CHECK(rest.it_value.tv_sec > 3900 && rest.it_value.tv_sec <= 4000);
    SYS(::timer_gettime(often, &rest));
    EQUAL(50000000, rest.it_interval.tv_nsec);
    const int before = fired;
    for (int i = 0; i < 200 && fired < before + 3; ++i)
        ::usleep(10000);
    CHECK(fired >= before + 3);
    EQUAL(4711, value);
    timer_t other = nullptr;
    SYS(::timer_create(CLOCK_MONOTONIC, &event, &other));
    CHECK(other != often && other != late);
    scenario::pass();
}
