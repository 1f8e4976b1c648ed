// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/tracee.h"

namespace abey::capture {

// Calls that wait without an end, but tell of any interruption (signal(7)): they shall go on waiting after ours, as
// others do. A signal that is to be handled still ends them. What the thread is in is changed so, also when it lives on.
Result<> continue_endless_wait(os::Tracee &thread);

} // namespace abey::capture
