// SPDX-License-Identifier: LGPL-2.1-or-later
//
// timerfd_create(2)
#include "engine/os/kernel.h"
#include "engine/rebuild/kinds.h"
#include "engine/times.h"

#include <sys/ioctl.h>
#include <sys/timerfd.h>

namespace abey::rebuild {
namespace timer_file {
namespace {

constexpr int64_t second = 1'000'000'000;

// A timer that was set to a time of day still means that time of day; every other goes on with the time it had left.
itimerspec setting(const model::TimerFile &timer, const model::Clocks &clocks, int &flags) {
    itimerspec spec = {.it_interval = engine::to_timespec(timer.interval),
                       .it_value = engine::to_timespec(timer.value)};
    flags = 0;
    const bool wall_clock = timer.clock == CLOCK_REALTIME || timer.clock == CLOCK_REALTIME_ALARM;
    const int64_t seen =
        timer.seen == model::Time() ? clocks.realtime : timer.seen.seconds * second + timer.seen.nanoseconds;
    if (!wall_clock || (timer.settime_flags & TFD_TIMER_ABSTIME) == 0 || seen == 0)
        return spec;
    const int64_t when = seen + timer.value.seconds * second + timer.value.nanoseconds;
    spec.it_value = {.tv_sec = when / second, .tv_nsec = when % second};
    flags = static_cast<int>(timer.settime_flags & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET));
    return spec;
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &timer = std::get<model::TimerFile>(file.payload);
    Fd fd(::timerfd_create(timer.clock, TFD_CLOEXEC));
    if (!fd)
        return fail(errno, "cannot make a timerfd on clock {}", timer.clock);
    if (timer.value != model::Time()) {
        int flags = 0;
        const itimerspec spec = setting(timer, context.tree.clocks, flags);
        if (::timerfd_settime(fd.get(), flags, &spec, nullptr) < 0)
            return fail(errno, "cannot set a timerfd");
    }
    if (timer.ticks != 0 && ::ioctl(fd.get(), kernel::tfd_ioc_set_ticks, &timer.ticks) < 0)
        return fail(errno, "cannot set the ticks of a timerfd to {}", timer.ticks);
    return fd;
}

} // namespace
} // namespace timer_file

Kind timer_file_kind() {
    return {.name = "timerfd",
            .payload = payload_index<model::TimerFile>(),
            .create = timer_file::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr,
            .late = always_late};
}

} // namespace abey::rebuild
