// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the terminals of a session show that is under a keeper of ours.
#pragma once

#include "engine/os/result.h"
#include "session/terminal.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace abey::session {

// N of /dev/pts/N -> what draws its screen on a terminal of the same size.
using Pictures = std::map<uint32_t, std::string>;

// Of all terminals together; a keeper that sends more is not believed.
inline constexpr size_t pictures_limit = 4U << 20U; // bytes

// Empty when the session is under no keeper, or under one of an older version. The keeper serves its terminals with the
// rights of the session's user, who may have it do what they like: within `limit` there is an answer or an error.
Result<Pictures> pictures_of(const std::string &session, std::chrono::milliseconds limit,
                             const std::string &directory = sockets_directory);

} // namespace abey::session
