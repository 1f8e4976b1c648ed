// SPDX-License-Identifier: LGPL-2.1-or-later
//
// signalfd(2)
#include "engine/rebuild/kinds.h"

#include <sys/signalfd.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace signal_receiver {
namespace {

Result<Fd> create(Context & /*context*/, const model::OpenFile &file) {
    const uint64_t mask = std::get<model::SignalReceiver>(file.payload).mask;
    // the kernel's own call: its signal set is 64 bits
    Fd fd(static_cast<int>(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_CLOEXEC)));
    if (!fd)
        return fail(errno, "cannot make a signalfd");
    return fd;
}

} // namespace
} // namespace signal_receiver

Kind signal_receiver_kind() {
    return {.name = "signalfd",
            .payload = payload_index<model::SignalReceiver>(),
            .create = signal_receiver::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr,
            .late = always_late};
}

} // namespace abey::rebuild
