// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <utility>
#include <vector>

namespace abey::model {

// What makes a file itself and no other, independent of its name. Zero where the file system does not tell.
// device and fsid are hints (both may change with a reboot); subvolume, number and generation stay.
struct FileIdentity {
    uint64_t device = 0;     // st_dev
    uint64_t fsid = 0;       // f_fsid of statfs(2)
    uint64_t subvolume = 0;  // btrfs
    uint64_t number = 0;     // st_ino
    uint32_t generation = 0; // FS_IOC_GETVERSION
    uint64_t fs_type = 0;    // f_type of statfs(2)
};

// Where the inode's name stands at the checkpoint.
enum class Naming : uint8_t {
    named,    // its path leads to it
    deleted,  // link count 0
    replaced, // its path now leads to another inode
    moved,    // not under its path any more, but under another name: `other_path`
    tmpfile,  // link count 0, made by O_TMPFILE
};

// How the contents are kept (docs/POLICY.md). `none`: they are not, the file is found again by name and identity.
// `pin`: it is to be found by its name, and what is kept stands in for it when another file has the name by then.
enum class Strategy : uint8_t { none, embed, copy, relink, reflink, empty, fail, pin };

struct FailedTry {
    Strategy strategy = Strategy::none;
    Bytes reason;
};

struct Kept {
    Strategy strategy = Strategy::none;
    Bytes rule;  // what chose it, for people: "policy.toml:12" or "default"
    Bytes blob;  // embed: file name under deleted/ in the image
    Bytes place; // copy, relink, reflink: absolute path in the dedicated area
    std::vector<FailedTry> tried;
};

// What is in a file that has a lasting name and is only read: by this it is known again when another inode has the
// name.
struct Content {
    bool known = false;
    Bytes build_id; // of an ELF file that has one
    Bytes digest;   // XXH3-128 as engine/image/digest.h computes it, hex; empty: the file was too large for that
};

// A directory above a file, to be made again like this when it is missing.
struct Above {
    uint32_t mode = 0; // permissions
    uint32_t uid = 0, gid = 0;
    Time atime, mtime;
    std::vector<std::pair<Bytes, Bytes>> xattrs;
};

struct Inode {
    ObjRef id = 0;
    FileIdentity identity;
    Naming naming = Naming::named;
    Bytes path;        // as /proc showed it, without " (deleted)"
    Bytes other_path;  // with Naming::moved
    uint32_t mode = 0; // type and permissions
    uint32_t uid = 0, gid = 0;
    uint64_t links = 0;
    uint64_t size = 0;
    uint64_t rdev = 0;
    Time atime, mtime, ctime;
    std::vector<std::pair<Bytes, Bytes>> xattrs; // only with Kept
    uint32_t flags = 0;                          // ioctl_iflags(2), those of chattr(1); only with Kept
    Kept kept;
    Content content;
    // Its name is one in this mount namespace, on this of its mounts; 0: the session's.
    ObjRef mount_namespace = 0;
    uint32_t mount = 0;
    bool remade = false; // it is part of a file system that is made again with its contents
    Bytes target;        // of a symbolic link that is to be made again
    // Of a kept file that has a name: the directories above that, from the nearest on.
    std::vector<Above> above;
    bool unheld = false;   // no process holds it: it is there again under its name, where that is free
    Time file_system_made; // with unheld: when its file system was made; zero: not known
};

} // namespace abey::model
