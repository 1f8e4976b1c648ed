// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"
#include "engine/model/base.h"
#include "engine/os/fd.h"

#include <map>
#include <string>
#include <tuple>

namespace abey::capture {

// Context::state of the shared memory kind: for each model::SharedMemory a descriptor that can be read (pread,
// SEEK_DATA, SEEK_HOLE), for whoever writes the pages into the image.
struct SharedMemories {
    // Device, number, and for System V segments the kernel's handle: those of two ipc namespaces may have one number.
    using Key = std::tuple<uint64_t, uint64_t, std::string>;
    std::map<model::ObjRef, Fd> readable;
    std::map<Key, model::ObjRef> by_inode;
};

// Of a file that a process has mapped (`path`: in its map_files), what tells it from others with its inode number: such
// System V segments of two ipc namespaces can have. Empty: nothing needs to.
Result<std::string> apart_from_others(Context &context, int pid, const std::string &path);

// Segments of an ipc namespace of the tree's own, in which we are, that nobody has attached: they end with it.
Result<> capture_unattached(Context &context, int identifier, model::ObjRef ns);

} // namespace abey::capture
