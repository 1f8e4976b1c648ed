// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the kernel tells about unix sockets by sock_diag(7).
#pragma once

#include "engine/os/fd.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace abey::capture {

struct UnixDiag {
    uint32_t number = 0;               // socket inode
    int type = 0;                      // SOCK_*
    int state = 0;                     // as TCP_*: 1 connected, 7 closed (unconnected), 10 listening
    std::string name;                  // sun_path
    std::optional<uint32_t> vfs_inode; // of the bound path
    std::optional<uint32_t> peer;      // socket inode, 0 for one that has no file yet (waits to be accepted)
    std::vector<uint32_t> pending;     // listening: the sockets that wait, oldest first
    uint32_t read_queue = 0;           // listening: how many wait
    uint32_t write_queue = 0;          // listening: the backlog; otherwise bytes not yet read by the peer
    unsigned shutdown = 0;             // 1 receive, 2 send
};

using UnixDiags = std::unordered_map<uint32_t, UnixDiag>; // by number

// Adds the sockets of one datagram of the answer; true when the end (NLMSG_DONE) was in it.
Result<bool> parse_unix_diag(std::span<const std::byte> datagram, UnixDiags &diags);

// All unix sockets of our network namespace.
Result<UnixDiags> dump_unix_sockets();

} // namespace abey::capture
