// SPDX-License-Identifier: LGPL-2.1-or-later
//
// eventfd(2)
#include "engine/rebuild/kinds.h"

#include <sys/eventfd.h>

namespace abey::rebuild {
namespace event_counter {
namespace {

Result<Fd> create(Context & /*context*/, const model::OpenFile &file) {
    const auto &counter = std::get<model::EventCounter>(file.payload);
    Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (counter.semaphore ? EFD_SEMAPHORE : 0)));
    if (!fd)
        return fail(errno, "cannot make an eventfd");
    // eventfd(2) takes only 32 bits of an initial count
    if (counter.count != 0 && ::write(fd.get(), &counter.count, sizeof counter.count) < 0)
        return fail(errno, "cannot set an eventfd to {}", counter.count);
    return fd;
}

} // namespace
} // namespace event_counter

Kind event_counter_kind() {
    return {.name = "eventfd",
            .payload = payload_index<model::EventCounter>(),
            .create = event_counter::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr,
            .late = always_late};
}

} // namespace abey::rebuild
