// SPDX-License-Identifier: LGPL-2.1-or-later
// Interval timers and POSIX timers keep their ids, intervals, what was left of their time and how often they ran over.
#include "scenario.h"

#include <ctime>

#include <sys/time.h>

namespace {

volatile int value = 0;
volatile int fired = 0;

void on_timer(int, siginfo_t *info, void *) {
    value = info->si_value.sival_int;
    fired = fired + 1;
}

constexpr int missed = 5;
constexpr time_t long_interval = 1000;

// A timer that ran out six times until its signal was taken, the last time before half of its interval.
timer_t run_over(clockid_t clock, int signal) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    SYS(::sigprocmask(SIG_BLOCK, &set, nullptr));
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal;
    timer_t timer = nullptr;
    SYS(::timer_create(clock, &event, &timer));
    itimerspec times = {{long_interval, 0}, {}};
    SYS(::clock_gettime(clock, &times.it_value));
    times.it_value.tv_sec -= missed * long_interval + long_interval / 2;
    SYS(::timer_settime(timer, TIMER_ABSTIME, &times, nullptr));
    EQUAL(signal, ::sigwaitinfo(&set, nullptr));
    EQUAL(missed, ::timer_getoverrun(timer));
    return timer;
}

void check_run_over(timer_t timer, int signal) {
    EQUAL(missed, ::timer_getoverrun(timer));
    itimerspec rest = {};
    SYS(::timer_gettime(timer, &rest));
    EQUAL(long_interval, rest.it_interval.tv_sec);
    CHECK(rest.it_value.tv_sec > long_interval / 2 - 200 && rest.it_value.tv_sec <= long_interval / 2);
    sigset_t pending;
    SYS(::sigpending(&pending));
    EQUAL(0, ::sigismember(&pending, signal));
}

// A timer whose signal waits, and that has run over since.
timer_t run_over_and_wait(int signal) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    SYS(::sigprocmask(SIG_BLOCK, &set, nullptr));
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal;
    event.sigev_value.sival_int = signal + 1000;
    timer_t timer = nullptr;
    SYS(::timer_create(CLOCK_REALTIME, &event, &timer));
    itimerspec times = {{long_interval, 0}, {}};
    SYS(::clock_gettime(CLOCK_REALTIME, &times.it_value));
    times.it_value.tv_sec -= missed * long_interval + long_interval / 2;
    SYS(::timer_settime(timer, TIMER_ABSTIME, &times, nullptr));
    return timer;
}

// Just one signal of it waits, and tells of all.
void check_run_over_and_wait(timer_t timer, int signal) {
    itimerspec rest = {};
    SYS(::timer_gettime(timer, &rest));
    EQUAL(long_interval, rest.it_interval.tv_sec);
    CHECK(rest.it_value.tv_sec > long_interval / 2 - 200 && rest.it_value.tv_sec <= long_interval / 2);
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    siginfo_t info = {};
    const timespec none = {};
    EQUAL(signal, ::sigtimedwait(&set, &info, &none));
    EQUAL(SI_TIMER, info.si_code);
    EQUAL(signal + 1000, info.si_value.sival_int);
    EQUAL(missed, info.si_overrun);
    EQUAL(missed, ::timer_getoverrun(timer));
    EQUAL(-1, ::sigtimedwait(&set, &info, &none));
    EQUAL(EAGAIN, errno);
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
    const timer_t over = run_over(CLOCK_REALTIME, SIGRTMIN + 2), over_legacy = run_over(CLOCK_REALTIME, SIGUSR2);
    const timer_t waiting = run_over_and_wait(SIGRTMIN + 3), waiting_legacy = run_over_and_wait(SIGALRM);
    scenario::ready();
    scenario::wait();

    check_run_over(over, SIGRTMIN + 2);
    check_run_over(over_legacy, SIGUSR2);
    check_run_over_and_wait(waiting, SIGRTMIN + 3);
    check_run_over_and_wait(waiting_legacy, SIGALRM);
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
