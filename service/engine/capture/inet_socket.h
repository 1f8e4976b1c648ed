// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

// The inet socket's own notice for the user, or an obstacle.
Finding socket_finding(const Seen &seen, std::string reason, std::string advice = {}, bool fatal = false);

} // namespace abey::capture
