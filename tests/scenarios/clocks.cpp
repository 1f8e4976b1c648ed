// SPDX-License-Identifier: LGPL-2.1-or-later
// The monotonic clocks never go back, by system call and through the vDSO.
#include "scenario.h"

#include <ctime>

#include <sys/syscall.h>

namespace {

double seconds(clockid_t clock, bool vdso) {
    timespec time = {};
    if (vdso)
        SYS(::clock_gettime(clock, &time));
    else
        SYS(::syscall(SYS_clock_gettime, clock, &time));
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE};
    double last[4] = {};
    bool ready = false;
    // looks all the time: every two looks at a clock, whatever happens between them, are in order
    do {
        for (int i = 0; i < 4; ++i)
            for (const bool vdso : {true, false}) {
                const double now = seconds(clocks[i], vdso);
                if (now < last[i])
                    scenario::failed(__FILE__, __LINE__,
                                     "clock " + std::to_string(clocks[i]) + (vdso ? " by the vDSO" : "") +
                                         " went back by " + std::to_string(last[i] - now) + " s");
                CHECK(last[i] == 0 || now - last[i] < 60);
                last[i] = now;
            }
        if (!ready)
            scenario::ready();
        ready = true;
    } while (!scenario::told(0));
    const double begin = seconds(CLOCK_MONOTONIC, true);
    const timespec until = {static_cast<time_t>(begin) + 1, 0};
    EQUAL(0, ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr));
    CHECK(seconds(CLOCK_MONOTONIC, true) >= static_cast<double>(until.tv_sec));
    CHECK(seconds(CLOCK_MONOTONIC, true) < static_cast<double>(until.tv_sec) + 1);
    scenario::pass();
}
