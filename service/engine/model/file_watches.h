// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// One watch of an inotify(7) instance.
struct Watch {
    int32_t number = 0; // watch descriptor
    uint32_t mask = 0;
    ObjRef inode = 0;  // directories, and files that the tree has open; 0: found again by `path`
    Bytes path;        // where the file was
    uint64_t file = 0; // its inode number: should another have the path, the program is told to look again
};

// An inotify(7) instance.
struct FileWatches {
    std::vector<Watch> watches; // by number
    bool unread = false;        // events were waiting: they become one IN_Q_OVERFLOW
};

} // namespace abey::model
