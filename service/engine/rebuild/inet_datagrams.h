// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Putting unread UDP datagrams back: sent over the loopback device as whole IP packets, so that each comes from the
// address that it came from.
#pragma once

#include "engine/model/inet_socket.h"
#include "engine/os/fd.h"

namespace abey::rebuild {

// The socket is bound (and connected, when it was), and the newest with its address: it gets what is sent there.
Result<> put_back(const Fd &socket, const model::InetSocket &saved);

} // namespace abey::rebuild
