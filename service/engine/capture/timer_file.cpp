// SPDX-License-Identifier: LGPL-2.1-or-later
//
// timerfd_create(2)
#include "engine/capture/fdinfo.h"
#include "engine/capture/kinds.h"

#include <sys/timerfd.h>

namespace abey::capture {
namespace timer_file {
namespace {

// At an interval timer that has always expired again.
constexpr int looks = 3;

bool matches(const Seen &seen) { return seen.link == "anon_inode:[timerfd]"; }

Result<model::Payload> capture(Context &context, const Seen &seen) {
    if (context.preflight)
        return TRY(parse_timer(seen.info));
    // An interval timer that has expired stands still until somebody looks; fdinfo alone would show neither the time
    // left nor the ticks that have passed since. Looking changes nothing that the task could notice. It may expire
    // again before fdinfo is read: then once more.
    model::TimerFile timer;
    bool was_set = false;
    for (int i = 0; i < looks; i++) {
        itimerspec now = {};
        if (::timerfd_gettime(seen.file->get(), &now) < 0)
            return fail(errno, "cannot ask the timer for the time left");
        was_set = was_set || now.it_value.tv_sec != 0 || now.it_value.tv_nsec != 0;
        const std::string info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", seen.file->get())));
        timer = TRY(parse_timer(info));
        timespec time = {};
        (void)::clock_gettime(CLOCK_REALTIME, &time);
        timer.seen = {time.tv_sec, static_cast<uint32_t>(time.tv_nsec)};
        if (timer.value != model::Time() || timer.interval == model::Time())
            break;
    }
    const bool expires_now = was_set && timer.ticks == 0;
    const bool goes_on = timer.ticks != 0 && timer.interval != model::Time();
    if (timer.value == model::Time() && (expires_now || goes_on))
        timer.value = {0, 1}; // or it would be one that is not set
    return timer;
}

} // namespace
} // namespace timer_file

Kind timer_file_kind() {
    return {.name = "timerfd", .matches = timer_file::matches, .capture = timer_file::capture, .complete = nullptr};
}

} // namespace abey::capture
