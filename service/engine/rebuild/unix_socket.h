// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/rebuild/kind.h"
#include "engine/rebuild/unix_names.h"

#include <set>

namespace abey::rebuild {

// Context::state of the unix socket kind: every socket of the tree, from its making to its filling.
struct UnixSockets {
    struct Made {
        Fd file;           // until the open file is asked for: then it belongs to the context, and
        int number = -1;   // only this is known of it
        Fd other;          // the other end, when no process of the tree has it: closed after filling
        bool anew = false; // it is a new connection to a peer outside, to which nothing can be put back
        Fd node;           // O_PATH of the path that it is bound to, wherever that is
    };
    bool built = false;
    std::map<model::ObjRef, Made> made;
    std::vector<BoundName> bound;
    bool finished = false;

    UnixSockets() = default;
    UnixSockets(const UnixSockets &) = delete;
    UnixSockets &operator=(const UnixSockets &) = delete;
    // The restore was given up: the names go with it.
    ~UnixSockets();
};

// The way to a bound socket from the ordinary root.
Result<UnixAddress> way_to(const UnixSockets &sockets, const model::UnixSocket &socket);

// "unix socket @name", for messages
std::string described(const model::UnixSocket &socket);

// Queues, then the shut-down directions, datagram peers and options.
Result<> fill_unix_sockets(Context &context);

} // namespace abey::rebuild
