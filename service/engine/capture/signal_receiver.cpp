// SPDX-License-Identifier: LGPL-2.1-or-later
//
// signalfd(2)
#include "engine/capture/kinds.h"

namespace abey::capture {
namespace signal_receiver {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[signalfd]"; }

Result<model::Payload> capture(Context & /*context*/, const Seen &seen) {
    const auto mask = seen.info_number("sigmask", 16);
    if (!mask)
        return fail(0, "the kernel does not tell the signals of a signalfd");
    return model::SignalReceiver{.mask = *mask};
}

} // namespace
} // namespace signal_receiver

Kind signal_receiver_kind() {
    return {.name = "signalfd",
            .matches = signal_receiver::matches,
            .capture = signal_receiver::capture,
            .complete = nullptr};
}

} // namespace abey::capture
