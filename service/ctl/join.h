// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which session a login joins instead of beginning a new one.
#pragma once

#include "engine/os/result.h"

#include <string>

namespace abey::ctl {

// One of the caller's that nobody is attached to; else the one that this login is brought back by itself, for which it
// is waited, as for what is at work on one of them already. Tells on standard error what is waited for, and what stands
// in the way; empty: there is none.
Result<std::string> session_to_join();

} // namespace abey::ctl
