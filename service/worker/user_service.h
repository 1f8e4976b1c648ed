// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Services of a user's own manager, whose processes are suspended: a manager that sees them end would start them again
// (Restart= of systemd.service(5)), run their ExecStop=, or call it a failure.
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/result.h"
#include "worker/target.h"

#include <vector>

namespace abey::worker {

bool is_user_service(const session::Session &session);

// What the manager has of the service that cannot be suspended with it: sockets, names on the bus.
Result<std::vector<capture::Finding>> ties_of(const Target &target);

// Has the user's manager take the end of the service for what was wanted, as long as this lasts: by a drop-in in
// XDG_RUNTIME_DIR. All is done with the user's rights, there is nothing of root's that the user could lead astray.
Result<> expect_end(const Target &target);
// Waits until the manager has seen the service's end, when it has ended, and takes the drop-in away. Also when
// expect_end() was never called.
Result<> end_seen(const Target &target, bool has_ended);

} // namespace abey::worker
