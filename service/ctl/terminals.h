// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What could be attached to.
#pragma once

#include "ctl/command.h"

namespace abey::ctl {

// The terminals of the session that is named, else of all that the caller may attach to.
Result<int> list_terminals(const AttachCommand &command);

} // namespace abey::ctl
