// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/inode.h"

#include <vector>

namespace abey::model {

// A file or directory of a file system that is saved with its contents.
struct FileSystemEntry {
    Bytes path; // from the file system's root, without a leading slash; that of the root itself is empty
    uint32_t mode = 0, uid = 0, gid = 0;
    uint64_t rdev = 0;
    Time atime, mtime;
    Bytes target;     // of a symbolic link
    ObjRef inode = 0; // of a regular file: its contents; two entries with the same one are hard links
    Bytes link;       // of anything else that has had a name already: the path of that
    std::vector<std::pair<Bytes, Bytes>> xattrs;
};

// A file system (the kernel's super block) that only mount namespaces of the tree have, so that it is to be made again.
struct FileSystem {
    ObjRef id = 0;
    Bytes type;    // "tmpfs"
    Bytes source;  // what mount(8) shows as the device
    Bytes options; // of the file system, as mountinfo has them
    bool read_only = false;
    ObjRef owner = 0;                     // the user namespace in which it was made; 0: the session's
    ObjRef ns = 0;                        // what it shows: an ipc, network or cgroup namespace; 0: the session's
    std::vector<FileSystemEntry> entries; // parents before children; of a tmpfs
};

// A mount (mount_namespaces(7)).
struct Mount {
    uint32_t parent = 0;    // its index in the namespace's list, which has parents before children; of the first: none
    Bytes place;            // as seen from the namespace's root
    ObjRef file_system = 0; // 0: one that the session has mounted, too, and that is taken from there
    Bytes root;             // what of the file system is mounted, from its root; "/"
    Bytes type;             // for messages
    // Where the session has it: the place of that mount, the how-maniest of those on top of each other there, and what
    // lies below it.
    Bytes source_place;
    uint32_t source_level = 0;
    Bytes source_path;       // "" or "sub/directory"
    Inode inode;             // of its root; only its identity counts
    uint64_t attributes = 0; // MOUNT_ATTR_* (mount_setattr(2))
    bool unbindable = false;
    uint32_t shared = 0, master = 0;                            // peer groups within the tree; 0: none
    bool shared_with_session = false, slave_of_session = false; // ... or that of the session's mount
    bool locked = false;                                        // cannot be taken away by those in the namespace
    uint64_t locked_attributes = 0;                             // nor these be changed
};

} // namespace abey::model
