// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System V shared memory (shmop(2)) by a descriptor.
#pragma once

#include "engine/os/fd.h"

namespace abey::os {

// The memory of a segment of the ipc namespace that we are in, `size` as IPC_STAT tells it; it is attached for a
// moment.
Result<Fd> segment_file(int identifier, uint64_t size, bool write);

} // namespace abey::os
