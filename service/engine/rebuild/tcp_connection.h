// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TCP connections made again by repair mode (tcp(7), TCP_REPAIR): no packet is sent before both ends are there.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/fd.h"
#include "engine/os/inet_address.h"

namespace abey::rebuild {

// What an earlier life of the session has left behind at a local port (TIME_WAIT, orphans that wait for their end) and
// would keep us from binding to it is ended.
Result<> clear_leftovers(const os::InetAddress &local);

} // namespace abey::rebuild
