// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// An option of setsockopt(2) that is not what a new socket has.
struct SocketOption {
    int32_t level = 0, name = 0;
    Bytes value; // as the kernel takes it
};

// What sockets of every family have; the unix ones keep their own few.
struct SocketSettings {
    uint32_t uid = 0, gid = 0;                    // whose socket it is (fstat(2))
    uint32_t send_buffer = 0, receive_buffer = 0; // as getsockopt(2) tells, that is doubled
    uint32_t buffer_locks = 0;                    // SO_BUF_LOCK: which of them the program has chosen
    std::vector<SocketOption> options;
};

// Membership in a multicast group, with the sources that are let in (or left out).
struct GroupMembership {
    Bytes interface;           // its name
    Bytes group;               // struct sockaddr_in or sockaddr_in6
    bool only_sources = false; // MCAST_INCLUDE
    std::vector<Bytes> sources;
};

struct InetDatagram {
    Bytes source; // struct sockaddr_in or sockaddr_in6
    Bytes data;
};

enum class InetState : uint8_t {
    idle, // neither of these; may have an address
    listening,
    connected,  // of TCP: and not yet closed by both sides
    connecting, // connect(2) is under way
    dead,       // was connected; nothing comes any more but what is unread
};

// What becomes of a TCP connection whose other end is outside.
enum class PeerAction : uint8_t { hangup, reconnect, keep, fail };

// The part of a TCP connection that only one who goes on with it must know (TCP_REPAIR, tcp(7)).
struct TcpRepair {
    uint32_t send_sequence = 0;    // of the first byte that is not acknowledged
    uint32_t receive_sequence = 0; // of the first byte after those received
    uint32_t largest_segment = 0;
    bool window_scaling = false, selective_acknowledgement = false, timestamps = false;
    uint32_t send_scale = 0, receive_scale = 0;
    uint32_t timestamp = 0;
    uint32_t state = 0;  // os::TcpState: who has ended its direction first
    uint32_t unsent = 0; // how much of what is not acknowledged the peer cannot have seen, FIN included
    Bytes window;        // struct tcp_repair_window; empty: not known
};

// An internet socket: UDP, ICMP, raw, TCP; an open file of it refers to it by id.
struct InetSocket {
    ObjRef id = 0;
    uint64_t number = 0; // socket inode
    int32_t family = 0, type = 0, protocol = 0;
    InetState state = InetState::idle;
    Bytes local, remote; // struct sockaddr_in or sockaddr_in6; empty: none
    SocketSettings settings;
    uint32_t backlog = 0;
    bool read_shut = false, write_shut = false; // shutdown(2) by its own side
    std::vector<GroupMembership> groups;
    std::vector<InetDatagram> datagrams; // unread, oldest first
    // TCP
    ObjRef peer = 0;                        // InetSocket of the tree
    ObjRef listener = 0;                    // InetSocket of the tree at which it waits to be accepted
    bool end_received = false;              // the other side has shut its direction
    bool error_pending = false;             // dead: the next call is told
    PeerAction action = PeerAction::hangup; // of a peer outside
    Bytes unread;
    Bytes unacknowledged; // sent by the program and not yet in the peer's hands
    TcpRepair repair;
};

} // namespace abey::model
