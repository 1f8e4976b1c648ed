// SPDX-License-Identifier: LGPL-2.1-or-later
//
// eventfd(2)
#include "engine/capture/kinds.h"

namespace abey::capture {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[eventfd]"; }

Result<model::Payload> capture(Context & /*context*/, const Seen &seen) {
    const auto count = seen.info_number("eventfd-count", 16);
    if (!count)
        return fail(0, "the kernel does not tell the count of an eventfd");
    const auto semaphore = seen.info_number("eventfd-semaphore", 10);
    if (!semaphore)
        return fail(0, "the kernel does not tell whether an eventfd is a semaphore; Linux 6.5 or newer is needed");
    return model::EventCounter{.count = *count, .semaphore = *semaphore != 0};
}

} // namespace

Kind event_counter_kind() { return {.name = "eventfd", .matches = matches, .capture = capture, .complete = nullptr}; }

} // namespace abey::capture
