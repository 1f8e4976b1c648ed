// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/restart_block.h"

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

} // namespace abey::capture
