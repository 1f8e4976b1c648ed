// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

namespace abey::model {

// A pipe or fifo: the object that its ends share.
struct Pipe {
    ObjRef id = 0;
    uint64_t number = 0; // pipe inode
    uint32_t size = 0;   // F_GETPIPE_SZ
    Bytes contents;      // unread bytes, oldest first
    ObjRef inode = 0;    // a fifo's name in the file system; 0 for an unnamed pipe
};

} // namespace abey::model
