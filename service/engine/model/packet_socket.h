// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/inet_socket.h"

namespace abey::model {

// struct tpacket_req3 of linux/if_packet.h; all 0: none
struct PacketRing {
    uint32_t block_size = 0, blocks = 0, frame_size = 0, frames = 0;
    uint32_t timeout = 0, private_size = 0, features = 0;
};

struct PacketMembership {
    Bytes device;
    uint32_t type = 0;  // PACKET_MR_*
    uint32_t count = 0; // so often
    Bytes address;
};

// A packet(7) socket; nothing is shared, so it stands in its open file.
struct PacketSocket {
    SocketSettings settings;
    int32_t type = 0;
    uint32_t protocol = 0; // sll_protocol, in the order of the network
    Bytes device;          // that it is bound to; empty: none
    int32_t version = 0;   // PACKET_VERSION
    uint32_t reserve = 0, copy_threshold = 0, timestamp = 0;
    uint32_t fanout = 0; // PACKET_FANOUT: group, type and flags
    std::vector<PacketMembership> memberships;
    PacketRing receive_ring, send_ring; // not mapped, so nothing is in them
};

} // namespace abey::model
