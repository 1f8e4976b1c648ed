// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the keeper of a restored session and an attached client say to each other about its terminals.
//
// The connection is a SOCK_SEQPACKET unix socket, /run/abeyance/sessions/ID.sock with the logind session's id, owned by
// the session's user and mode 0600; the keeper lets in its owner and root. The service (AttachSession on the bus)
// connects as root and hands the connection to whom polkit lets attach to somebody else's session. One packet is one
// message: a byte that tells its kind, then what is told below; numbers in the machine's own byte order. A client says
// Attach and then Input and Resize as it likes, until Detach or the end of the connection; or Watch, and then nothing
// but Detach; or it says List, or Picture. The keeper answers, and sends Output; after the Output of a picture it sends
// Ended.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace abey::session {

inline constexpr const char *sockets_directory = "/run/abeyance/sessions";

// Bytes of a packet, its kind included; a longer one ends the connection.
inline constexpr size_t packet_limit = 8192;
// Bytes of terminal data in one Input or Output.
inline constexpr size_t data_limit = packet_limit - 1;
inline constexpr uint32_t any_terminal = ~0U;
// Terminals of one session that can be listed.
inline constexpr size_t terminal_limit = 256;

struct WindowSize {
    uint16_t rows = 0, columns = 0; // 0: not known, the terminal keeps its own
    bool operator==(const WindowSize &) const = default;
};

// From the client.
struct List {
    bool operator==(const List &) const = default;
};
struct Attach {
    uint32_t terminal =
        any_terminal; // N of /dev/pts/N; any: the one that nobody is attached to, the lowest of them first
    WindowSize size;
    bool operator==(const Attach &) const = default;
};
struct Watch {                        // sees what is shown, while somebody else may be attached, or nobody
    uint32_t terminal = any_terminal; // any: one that somebody is attached to if there is one, the lowest of them first
    bool operator==(const Watch &) const = default;
};
struct Input {
    std::string data;
    bool operator==(const Input &) const = default;
};
struct Resize {
    WindowSize size;
    bool operator==(const Resize &) const = default;
};
struct Detach {
    bool operator==(const Detach &) const = default;
};
struct Picture { // what draws the screen as it is; nobody is attached by that
    uint32_t terminal = 0;
    bool operator==(const Picture &) const = default;
};
using ClientMessage = std::variant<List, Attach, Watch, Input, Resize, Detach, Picture>;

// From the keeper.
struct TerminalEntry {
    uint32_t index = 0;
    uint32_t old_index = 0; // before the suspend
    WindowSize size;
    bool attached = false;
    bool operator==(const TerminalEntry &) const = default;
};
struct Terminals { // the answer to List
    std::vector<TerminalEntry> entries;
    bool operator==(const Terminals &) const = default;
};
struct Attached { // the answer to Attach and Watch
    uint32_t terminal = 0;
    bool operator==(const Attached &) const = default;
};
struct Output {
    std::string data;
    bool operator==(const Output &) const = default;
};
struct Ended {       // nothing follows
    std::string why; // one line for people
    bool operator==(const Ended &) const = default;
};
using KeeperMessage = std::variant<Terminals, Attached, Output, Ended>;

// A packet. Data, text and lists over their limits are cut.
std::string encode(const ClientMessage &message);
std::string encode(const KeeperMessage &message);

// The message in a packet; EBADMSG for everything that encode() would not have made.
Result<ClientMessage> parse_client_message(std::string_view packet);
Result<KeeperMessage> parse_keeper_message(std::string_view packet);

} // namespace abey::session
