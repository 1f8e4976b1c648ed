// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"
#include "engine/os/fd.h"

#include <map>
#include <utility>

namespace abey::capture {

// Context::state of the shared memory kind: for each model::SharedMemory a descriptor that can be read (pread,
// SEEK_DATA, SEEK_HOLE), for whoever writes the pages into the image.
struct SharedMemories {
    std::map<model::ObjRef, Fd> readable;
    std::map<std::pair<uint64_t, uint64_t>, model::ObjRef> by_inode; // device, number
};

} // namespace abey::capture
