// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <string>
#include <string_view>

#include <sys/types.h>

namespace abey::daemon {

// Shows some lines on a user's terminal ("pts/3"), as write(1) does. EACCES: the user does not take messages (mesg
// n); EPERM: not a terminal of that user. Never waits for a terminal that is stopped.
Result<> write_to_terminal(const std::string &tty, uid_t owner, std::string_view text);

} // namespace abey::daemon
