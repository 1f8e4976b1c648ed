// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What becomes of a unix socket whose other end is outside.
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

// "@name" of an abstract one
std::string name_for_people(std::string name);

// Decides about a connected socket by the policy, and tells the user. `peer` is the number of the socket at the other
// end.
Result<> decide_unix_peer(Context &context, const Seen &seen, uint64_t peer, model::UnixSocket &socket);

} // namespace abey::capture
