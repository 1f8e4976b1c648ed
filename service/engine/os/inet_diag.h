// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the kernel tells about TCP sockets by sock_diag(7), also about those that no process holds.
#pragma once

#include "engine/os/inet_address.h"

#include <map>
#include <vector>

namespace abey::os {

// As the kernel numbers them (include/net/tcp_states.h)
enum class TcpState : uint8_t {
    established = 1,
    syn_sent,
    syn_received,
    fin_wait_1,
    fin_wait_2,
    time_wait,
    closed,
    close_wait,
    last_ack,
    listening,
    closing,
};

struct TcpDiag {
    uint32_t inode = 0; // socket inode; 0: no process has it (waits to be accepted, or is being closed)
    TcpState state = TcpState::closed;
    InetAddress local, remote;
    uint32_t read_queue = 0, write_queue = 0; // bytes; listening: connections that wait, backlog
    std::string id;                           // struct inet_diag_sockid, for destroy()
    int family = 0;
};

// All of our network namespace.
Result<std::vector<TcpDiag>> dump_tcp();

// Which directions of UDP sockets are shut (shutdown(2)), by socket inode: 1 receiving, 2 sending. Only those of which
// one is. `protocol`: IPPROTO_UDP or IPPROTO_UDPLITE.
Result<std::map<uint32_t, uint8_t>> shut_directions(int protocol);

// Ends one (CONFIG_INET_DIAG_DESTROY); it may have gone meanwhile.
Result<> destroy_tcp(const TcpDiag &diag);

} // namespace abey::os
