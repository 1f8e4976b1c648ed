// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What lies unread in an internet socket that takes datagrams, and the multicast groups it has joined, looked at from
// outside.
#pragma once

#include "engine/model/inet_socket.h"
#include "engine/os/fd.h"

#include <vector>

namespace abey::capture {

// All unread datagrams, oldest first, by MSG_PEEK with SO_PEEK_OFF (socket(7)), which belongs to the socket and is set
// back; its holders must stand still. An empty datagram that has been peeked at before is not seen.
Result<std::vector<model::InetDatagram>> peek_datagrams(const Fd &socket);

// Is anything unread? Takes nothing.
bool has_unread(const Fd &socket);

// The peer of a connected socket without ports (raw, ICMP), which getpeername(2) does not tell: struct sockaddr_in or
// sockaddr_in6 from /proc/net/raw and its like; empty when it is not connected.
Result<std::string> peer_without_port(int family, int type, uint64_t inode);

// A group that some socket of this network namespace has joined.
struct JoinedGroup {
    std::string interface;
    uint32_t index = 0;  // of the interface
    std::string address; // struct sockaddr_in or sockaddr_in6
};
// From /proc/net/igmp and igmp6.
Result<std::vector<JoinedGroup>> joined_groups();

// Those of them which this socket has joined: it is asked for its sources, and answers only as a member.
Result<std::vector<model::GroupMembership>> memberships(const Fd &socket, int family,
                                                        const std::vector<JoinedGroup> &groups);

} // namespace abey::capture
