// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/restart_block.h"
#include "engine/os/tracee.h"

#include <optional>

namespace abey::capture {

// Context::state: looked for when the first thread needs it, which takes a while: better before all stand still.
struct Sleepers {
    // Does this process look as if it would need it?
    void look_ahead(int pid);
    std::optional<Result<os::RestartBlocks>> blocks;
};

// Of a thread that stands still in a sleep, poll(2) or futex(2) with a relative time: how much of that is left. `tid`
// as we see it; `thread` has its registers.
void capture_sleep(Context &context, int tid, model::Thread &thread);

// Calls that wait without an end, but tell of any interruption (signal(7)): they shall go on waiting after ours, as
// others do. A signal that is to be handled still ends them. What the thread is in is changed so, also when it lives
// on.
Result<> continue_endless_wait(os::Tracee &thread);

} // namespace abey::capture
