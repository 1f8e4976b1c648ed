// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// A pipe or fifo: the object that its ends share.
struct Pipe {
    ObjRef id = 0;
    uint64_t number = 0;           // pipe inode
    uint32_t size = 0;             // F_GETPIPE_SZ
    Bytes contents;                // unread bytes, oldest first
    ObjRef inode = 0;              // a fifo's name in the file system; 0 for an unnamed pipe
    std::vector<uint32_t> packets; // of a pipe in packet mode (O_DIRECT, pipe(2)): the length of each in `contents`
};

} // namespace abey::model
