// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Native asynchronous I/O (io_setup(2), fs/aio.c of the kernel): the ring of events that a context shares with its
// program. Requests that are on their way belong to the kernel alone; it tells nobody how many there are.
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/procfs.h"

namespace abey::capture {

bool is_request_ring(const os::ProcMapping &mapping);

// Waits until what the disks have been asked for is done: each has a moment without work, which all ask for in vain
// while the tasks stand still. Then what lies in the ring, of a stopped process.
Result<model::RequestRing> capture_request_ring(Context &context, int pid, const os::ProcMapping &mapping);

} // namespace abey::capture
