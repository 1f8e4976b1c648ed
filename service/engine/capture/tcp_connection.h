// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TCP sockets: their state, who is at the other end, and what is on its way.
#pragma once

#include "engine/capture/kind.h"
#include "engine/capture/open_files.h"
#include "engine/os/network_lock.h"

#include <span>

namespace abey::capture {

struct StreamEnd {
    model::InetSocket *socket = nullptr;
    const OpenFiles::Entry *entry = nullptr;
};

// The socket's own state; changes nothing.
Result<> look_at_stream(const Fd &file, model::InetSocket &socket);

// Finds the ends that belong together, decides about the others, and reads what is unread and unacknowledged (not in
// preflight). A socket with unacknowledged data is in repair mode (tcp(7), TCP_REPAIR) for the moment of reading.
Result<> complete_streams(Context &context, std::span<const StreamEnd> streams);

// Those to peers outside that are to go on after the restore. Their packets are held back for as long as the context
// lives.
std::span<const os::Connection> kept_connections(Context &context);

// When the tasks have ended and the checkpoint is durable: connections that will be restored end without a word to the
// other side, and leave no trace that would be in the way.
void close_silently(Context &context) noexcept;

} // namespace abey::capture
