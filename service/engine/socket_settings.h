// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The options of sockets that getsockopt(2) shows: read from one socket, set on another of the same kind. One table
// says which there are.
#pragma once

#include "engine/model/inet_socket.h"
#include "engine/os/fd.h"

#include <map>
#include <tuple>

namespace abey::engine {

// What new sockets have, by family, type and protocol; filled as needed.
using NewSocketOptions = std::map<std::tuple<int, int, int>, std::vector<model::Bytes>>;

// Changes nothing. The socket belongs to our network namespace, since its options are compared with those of a new one.
Result<model::SocketSettings> read_settings(const Fd &socket, NewSocketOptions &new_sockets);

// When an option has to be set.
enum class Moment : uint8_t {
    before_bind, // those that decide whether and how it can be bound; and the owner
    at_end,      // all others, and the buffers' sizes, when nothing will be sent any more by us
};

// Options that the table does not know are an error: settings come from an image.
Result<> apply_settings(const Fd &socket, const model::SocketSettings &settings, Moment moment);

// An integer option of a socket.
Result<int> int_option(const Fd &socket, int level, int name);

// In the network namespace of this process?
Result<bool> is_in_our_network(const Fd &socket);

} // namespace abey::engine
