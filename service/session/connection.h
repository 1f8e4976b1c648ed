// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/fd.h"

#include <chrono>
#include <string>
#include <string_view>

namespace abey::session {

// A connection to a keeper's socket. With a time limit (0: none) connecting, sending and receiving take no longer
// (EAGAIN).
Result<Fd> connect_packets(const std::string &path, std::chrono::milliseconds limit = {});
// The same for those who may not wait: EAGAIN when the keeper has not taken the last ones yet. Later calls wait.
Result<Fd> connect_at_once(const std::string &path);
Result<> limit_time(const Fd &connection, std::chrono::milliseconds limit);
// Of an attempt to connect: a keeper that was killed leaves its socket behind.
bool is_nobodys(int code);

// Waits until the whole packet is taken. ECONNRESET or EPIPE: the other side has gone.
Result<> send_packet(const Fd &connection, std::string_view packet);
// Takes one packet, without waiting when `flags` has MSG_DONTWAIT (EAGAIN then). Empty: the other side has closed.
// A packet over packet_limit is EMSGSIZE.
Result<std::string> receive_packet(const Fd &connection, int flags = 0);

// The socket of a restored session. ENOENT: there is none by that id; ids are letters and digits only.
Result<std::string> socket_path(const std::string &directory, std::string_view session);

} // namespace abey::session
