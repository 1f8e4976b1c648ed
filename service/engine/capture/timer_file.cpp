// SPDX-License-Identifier: LGPL-2.1-or-later
//
// timerfd_create(2)
#include "engine/capture/fdinfo.h"
#include "engine/capture/kinds.h"

#include <sys/timerfd.h>

namespace abey::capture {
namespace timer_file {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[timerfd]"; }

Result<model::Payload> capture(Context &context, const Seen &seen) {
    if (context.preflight)
        return TRY(parse_timer(seen.info));
    // An interval timer that has expired stands still until somebody looks; fdinfo alone would show neither the time
    // left nor the ticks that have passed since. Looking changes nothing that the task could notice.
    itimerspec now = {};
    if (::timerfd_gettime(seen.file->get(), &now) < 0)
        return fail(errno, "cannot ask the timer for the time left");
    const std::string info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", seen.file->get())));
    return TRY(parse_timer(info));
}

} // namespace
} // namespace timer_file

Kind timer_file_kind() {
    return {.name = "timerfd", .matches = timer_file::matches, .capture = timer_file::capture, .complete = nullptr};
}

} // namespace abey::capture
