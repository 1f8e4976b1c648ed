// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Strays: processes that belong to a session as its user sees it, but run in another unit, so that a suspend of the
// session's scope does not take them along (`systemd-run --user --scope`, a login(1) within the session). They lose
// their terminal, or their parent, and the user should know beforehand.
#pragma once

#include "session/frontend.h"

#include <span>
#include <vector>

namespace abey::session {

// Those of `others` that have a terminal of the session's as their controlling terminal, or whose parent is in the
// session. `inside`: the processes of the session without its frontend.
std::vector<Process> strays(std::span<const Process> inside, std::span<const Process> others);

// All processes of the machine but those in `inside` and `spared` (pids, ascending).
Result<std::vector<Process>> others_than(std::span<const Process> inside, std::span<const pid_t> spared);

} // namespace abey::session
