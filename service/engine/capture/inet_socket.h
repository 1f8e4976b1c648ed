// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

// The inet socket's own notice for the user, or an obstacle.
Finding socket_finding(const Seen &seen, std::string reason, std::string advice = {}, bool fatal = false);

// What is said of a socket that belongs to another network namespace, of whatever kind it is.
std::unexpected<Error> refuse_other_network();

} // namespace abey::capture
