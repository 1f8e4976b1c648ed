// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/file_watches.h"

namespace abey::model {

// One mark of a fanotify(7) group.
struct FileMark {
    uint32_t kind = 0;    // FAN_MARK_INODE, FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM
    uint32_t flags = 0;   // FAN_MARK_*, as fdinfo shows them
    uint32_t ignored = 0; // the mask of events that are ignored
    Watch watch;          // what is marked, and the mask; of mounts and file systems the path of a mount
};

// A fanotify(7) group.
struct FileMarks {
    uint32_t flags = 0, event_flags = 0; // of fanotify_init(2)
    bool privileged = false;             // made with CAP_SYS_ADMIN, else by this user:
    uint32_t uid = 0, gid = 0;
    std::vector<FileMark> marks;
};

} // namespace abey::model
