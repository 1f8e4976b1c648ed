// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What lies unread in a unix socket, looked at without taking anything out.
#pragma once

#include "engine/os/fd.h"

#include <string>
#include <vector>

namespace abey::capture {

struct QueuedMessage {
    std::string data;
    std::vector<Fd> rights;
    std::string source; // datagrams: sun_path of the sender
    int sender_pid = 0; // SCM_CREDENTIALS; 0: the socket does not ask for them
    uint32_t sender_uid = 0, sender_gid = 0;
};

// All unread messages, oldest first. Of a stream: stretches, a new one where descriptors were sent with the first byte.
// Uses MSG_PEEK with SO_PEEK_OFF (socket(7)), which belongs to the socket, and sets that back; its holders must stand
// still.
Result<std::vector<QueuedMessage>> peek_queue(const Fd &socket, int type);

} // namespace abey::capture
