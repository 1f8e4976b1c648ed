// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/need.h"

#include "policy/file_system.h"

#include <cctype>

#include <linux/magic.h>
#include <sys/stat.h>

namespace abey::files {
namespace {

// procfs: /proc/PID/... (also as /proc/self/...)
bool belongs_to_process(const model::Inode &inode) {
    return inode.identity.fs_type == PROC_SUPER_MAGIC && inode.path.starts_with("/proc/") && inode.path.size() > 6 &&
           std::isdigit(static_cast<unsigned char>(inode.path[6])) != 0;
}

} // namespace

Result<Need> need_of(const model::Inode &inode, const policy::Policy &policy) {
    bool has_name = inode.naming == model::Naming::named || inode.naming == model::Naming::moved;
    if (belongs_to_process(inode))
        return fail(0, "a file of a process cannot be opened again before that process exists; close it");
    if (policy::is_pseudo(inode.identity.fs_type)) {
        if (has_name)
            return Need::none;
        return fail(0, "the kernel removed it, nothing can bring it back; close it");
    }
    if (has_name && (S_ISCHR(inode.mode) || S_ISBLK(inode.mode) || S_ISLNK(inode.mode)))
        return Need::none;
    if (S_ISLNK(inode.mode))
        return Need::shape;
    const model::Bytes &name = inode.naming == model::Naming::moved ? inode.other_path : inode.path;
    if (has_name && !policy::is_volatile(inode.identity.fs_type) && policy.lasts(name))
        return Need::none;
    return S_ISREG(inode.mode) ? Need::contents : Need::shape;
}

policy::FileState state_of(const model::Inode &inode) {
    switch (inode.naming) {
    case model::Naming::named:
        return policy::FileState::not_lasting;
    case model::Naming::tmpfile:
        return policy::FileState::unnamed;
    case model::Naming::moved:
    case model::Naming::deleted:
    case model::Naming::replaced:
        break;
    }
    return inode.links > 0 ? policy::FileState::linked : policy::FileState::deleted;
}

std::string_view naming_word(const model::Inode &inode) {
    switch (inode.naming) {
    case model::Naming::named:
    case model::Naming::moved:
        return "not lasting";
    case model::Naming::replaced:
        return "replaced by another of its name";
    case model::Naming::tmpfile:
        return "without a name";
    case model::Naming::deleted:
        break;
    }
    return "deleted";
}

bool names_follow_files(uint64_t fs_type) {
    return fs_type == BTRFS_SUPER_MAGIC || fs_type == EXT4_SUPER_MAGIC || fs_type == XFS_SUPER_MAGIC;
}

} // namespace abey::files
