// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/inet_socket.h"

namespace abey::model {

// A netlink(7) socket; nothing is shared, so it stands in its open file.
struct NetlinkSocket {
    SocketSettings settings;
    int32_t type = 0, protocol = 0;
    uint32_t port = 0;            // nl_pid; 0: not bound
    std::vector<uint32_t> groups; // numbers of the multicast groups that it is in
    bool connected = false;
    uint32_t peer_port = 0, peer_groups = 0;
};

} // namespace abey::model
