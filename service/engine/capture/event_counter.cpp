// SPDX-License-Identifier: LGPL-2.1-or-later
//
// eventfd(2)
#include "engine/capture/kinds.h"

#include <cerrno>

namespace abey::capture {
namespace event_counter {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[eventfd]"; }

// Reading tells: from a semaphore one, from others the whole count. What was read is put back; only processes that do
// not stand still could notice.
Result<bool> try_whether_semaphore(const Fd &file, uint64_t count) {
    constexpr uint64_t added = 2; // so that the two ways differ, and reading does not wait
    const auto put = [&](uint64_t value) { return ::write(file.get(), &value, sizeof value) == sizeof value; };
    const auto take = [&](uint64_t &value) { return ::read(file.get(), &value, sizeof value) == sizeof value; };
    const bool too_few = count < added;
    uint64_t first = 0;
    if ((too_few && !put(added)) || !take(first))
        return fail(errno, "cannot find out whether an eventfd is a semaphore");
    const bool semaphore = first == 1;
    uint64_t rest = 0;
    for (uint64_t taken = first; semaphore && too_few && taken < added; taken += rest)
        if (!take(rest))
            return fail(errno, "an eventfd that is a semaphore cannot be read");
    const uint64_t missing = too_few ? (semaphore ? 0 : count) : first;
    if (missing != 0 && !put(missing))
        return fail(errno, "the count of an eventfd cannot be put back");
    return semaphore;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const auto count = seen.info_number("eventfd-count", 16);
    if (!count)
        return fail(0, "the kernel does not tell the count of an eventfd");
    model::EventCounter counter{.count = *count, .semaphore = false};
    // Linux 6.5 or newer tells it
    if (const auto semaphore = seen.info_number("eventfd-semaphore", 10))
        counter.semaphore = *semaphore != 0;
    else if (!context.preflight)
        counter.semaphore = TRY(try_whether_semaphore(*seen.file, *count));
    return counter;
}

} // namespace
} // namespace event_counter

Kind event_counter_kind() {
    return {
        .name = "eventfd", .matches = event_counter::matches, .capture = event_counter::capture, .complete = nullptr};
}

} // namespace abey::capture
