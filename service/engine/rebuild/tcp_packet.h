// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Segments of TCP without data that come to one of our sockets as if its peer had sent them: what the peer has said
// before and will not say again.
#pragma once

#include "engine/os/inet_address.h"

namespace abey::rebuild {

struct FromPeer {
    os::InetAddress peer, us; // both IPv4, or both IPv6
};

enum class PeerSends : uint8_t { acknowledgement, end };

// It passes the locks of os::NetworkLock. Sequence numbers as in RFC 9293.
Result<> send_from_peer(const FromPeer &ends, uint32_t sequence, uint32_t acknowledged, PeerSends what);

} // namespace abey::rebuild
