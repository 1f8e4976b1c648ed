// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TCP connections made again by repair mode (tcp(7), TCP_REPAIR): no packet is sent before both ends are there. All
// sockets given here are new, with their options of Moment::before_bind.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/fd.h"
#include "engine/os/inet_address.h"

namespace abey::rebuild {

class Context;

// What an earlier life of the session has left behind (TIME_WAIT, orphans that wait for their end) and would keep us
// from binding to this address is ended; not when somebody listens there, whose connections these are.
Result<> clear_leftovers(const os::InetAddress &local);

// Both ends, with what was unread and what was on its way, and the directions that were shut.
Result<> connect_pair(const Fd &a, const model::InetSocket &saved_a, const Fd &b, const model::InetSocket &saved_b);
// A socket that is its own peer.
Result<> connect_to_itself(const Fd &socket, const model::InetSocket &saved);

// A connection that waits at a listener of the tree, which listens already. The socket is bound.
Result<> connect_waiting(const Fd &socket, const model::InetSocket &saved);

// A connection to a peer outside that goes on. It stays in repair mode until let_go(), after which its packets must be
// allowed to pass. EADDRNOTAVAIL: the address is not ours, or there is such a connection already.
Result<> resume_kept(const Fd &socket, const model::InetSocket &saved);
Result<> let_go(const Fd &socket, const model::InetSocket &saved);

// All of these, just before the tasks run.
Result<> let_connections_go(Context &context);

// A connection that is over, or whose peer we have lost: what was unread can be read, then comes the end or, when the
// peer had not ended it, ECONNRESET.
Result<> hang_up(const Fd &socket, const model::InetSocket &saved);

// Is it a connection that was being made, or that policy wants to be made anew?
bool connects_again(const model::InetSocket &saved);
// Begins; what becomes of it, the program will see.
Result<> start_connecting(int socket, const model::InetSocket &saved);

} // namespace abey::rebuild
