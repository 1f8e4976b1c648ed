// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the keeper's processes say to each other: JSON objects as packets of a SOCK_SEQPACKET socket pair, each with a
// descriptor if need be.
#pragma once

#include "engine/os/fd.h"

#include <nlohmann/json.hpp>

namespace abey::session {

struct Message {
    nlohmann::json body; // null: nothing more will come
    Fd fd;
};

// One packet, with a descriptor when `fd` is one. False: the other side has gone, or the packet is too large.
bool send_message(const Fd &channel, const nlohmann::json &message, int fd = -1);

// The packet that is there; an empty message when there is none, or no other side any more. EBADMSG: not an object, or
// longer than `limit` bytes.
Result<Message> receive_message(const Fd &channel, size_t limit);

} // namespace abey::session
