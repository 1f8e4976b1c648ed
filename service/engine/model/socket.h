// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// One message (datagram, seqpacket record) or one stretch of a stream with the descriptors sent with it.
struct SocketMessage {
    Bytes data;
    std::vector<ObjRef> rights; // OpenFiles in flight (SCM_RIGHTS)
    Bytes source;               // datagrams: sun_path of the sender, may be empty
    int32_t sender_pid = 0;     // SCM_CREDENTIALS, when the receiver asked for them (SO_PASSCRED); 0: unknown
    uint32_t sender_uid = 0, sender_gid = 0;
};

struct SocketOptions {
    uint32_t send_buffer = 0, receive_buffer = 0; // as getsockopt(2) tells, that is doubled
    bool pass_credentials = false;
    bool pass_security = false;
    int32_t peek_offset = -1;
    bool linger = false;
    int32_t linger_seconds = 0;
    uint64_t receive_timeout_us = 0, send_timeout_us = 0;
    int32_t priority = 0;
    int32_t low_water = 1;
};

enum class SocketState : uint8_t { unconnected, listening, connected };

// A unix(7) socket; an open file of it refers to it by id.
struct UnixSocket {
    ObjRef id = 0;
    uint64_t number = 0; // socket inode
    int32_t type = 0;    // SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
    SocketState state = SocketState::unconnected;
    Bytes name;                                         // sun_path: a path, or "\0..." abstract; empty: unbound
    uint32_t name_mode = 0, name_uid = 0, name_gid = 0; // of the bound path's inode
    bool name_unlinked = false;                         // the path does not lead to it any more
    Bytes directory; // where a relative path leads to it from; empty when nobody knows, or the path is absolute
    uint32_t backlog = 0;
    ObjRef peer = 0;                            // UnixSocket within the tree
    bool peer_outside = false;                  // connected to a socket outside the tree: "hangup" at restore, or
    bool reconnect = false;                     // a new connection to `peer_name`, over which
    Bytes greeting;                             // this is sent first
    Bytes peer_name;                            // when the peer is outside or a bound datagram socket
    bool read_shut = false, write_shut = false; // shutdown(2)
    SocketOptions options;
    std::vector<SocketMessage> queue; // unread, oldest first
    std::vector<ObjRef>
        pending; // listening: connected peers (UnixSocket ids) which wait to be accepted; 0: one that closed again
    int32_t owner_pid = 0; // whom the peer is told by SO_PEERCRED; of a listener: whom its clients are told
    uint32_t owner_uid = 0, owner_gid = 0;
    std::vector<uint32_t> owner_groups; // SO_PEERGROUPS
    int32_t peer_pid = 0;               // whom this socket tells by SO_PEERCRED, when the peer has gone or is outside
    uint32_t peer_uid = 0, peer_gid = 0;
    std::vector<uint32_t> peer_groups;
};

} // namespace abey::model
