// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/changes.h"

#include "engine/times.h"
#include "snapshot/area.h"
#include "snapshot/inode_search.h"
#include "snapshot/subvolume.h"

#include <algorithm>
#include <vector>

#include <endian.h>
#include <linux/btrfs_tree.h>
#include <sys/stat.h>

namespace abey::snapshot {
namespace {

bool same(const btrfs_timespec &one, const btrfs_timespec &other) {
    return one.sec == other.sec && one.nsec == other.nsec;
}

// All but the access time and what btrfs keeps for itself.
bool looks_same(uint64_t inode, const btrfs_inode_item &one, const btrfs_inode_item &other) {
    // Renaming the subvolume itself changes the ctime of its top, and nothing in it.
    const bool top = inode == BTRFS_FIRST_FREE_OBJECTID;
    return one.generation == other.generation && one.size == other.size && one.nlink == other.nlink &&
           one.uid == other.uid && one.gid == other.gid && one.mode == other.mode && one.rdev == other.rdev &&
           same(one.mtime, other.mtime) && (top || same(one.ctime, other.ctime)) &&
           // An inode that was written anew though no time differs was changed within the clock tick of the snapshot
           // (times are no finer than a tick, inode_set_ctime_current() in fs/inode.c): an attribute, or contents.
           (top || one.transid == other.transid || !same(one.atime, other.atime));
}

model::Time time_of(const btrfs_timespec &time) {
    return {.seconds = static_cast<int64_t>(le64toh(time.sec)), .nanoseconds = le32toh(time.nsec)};
}

// Names that a directory had and has no more.
Result<> list_removed(const Fd &live, const Fd &saved, uint64_t inode, std::vector<Change> &changes, size_t limit) {
    const auto then = TRY(path_of(saved, inode));
    const auto now = TRY(path_of(live, inode));
    if (!then || !now)
        return {};
    const auto before = TRY(open_below(saved, *then));
    const auto after = open_below(live, *now);
    if (!after)
        return {}; // it has been moved or removed since
    for (const auto &name : TRY(names_in(before, ~size_t{0}))) {
        struct stat status {};
        if (changes.size() >= limit)
            return {};
        if (::fstatat(after->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ||
            ::fstatat(before.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        changes.push_back({.kind = Change::Kind::removed,
                           .path = then->empty() ? name : *then + "/" + name,
                           .mode = status.st_mode,
                           .size_before = static_cast<uint64_t>(status.st_size),
                           .size_now = 0,
                           .mtime = engine::to_time(status.st_mtim)});
    }
    return {};
}

} // namespace

Result<std::vector<Change>> list_changes(const Fd &live, const Fd &saved, uint64_t since, size_t limit) {
    std::vector<Change> changes;
    const VisitInode look = [&](uint64_t inode, const btrfs_inode_item &item) -> Result<bool> {
        if (le64toh(item.transid) <= since || item.nlink == 0)
            return true;
        const auto before = TRY(inode_of(saved, inode));
        if (before && looks_same(inode, item, *before))
            return true;
        const auto path = TRY(path_of(live, inode));
        if (!path)
            return true;
        const auto mode = le32toh(item.mode);
        changes.push_back({.kind = before ? Change::Kind::changed : Change::Kind::added,
                           .path = *path,
                           .mode = mode,
                           .size_before = before ? le64toh(before->size) : 0,
                           .size_now = le64toh(item.size),
                           .mtime = time_of(item.mtime)});
        if (before && S_ISDIR(mode))
            TRY(list_removed(live, saved, inode, changes, limit));
        return changes.size() < limit;
    };
    TRY(each_inode(live, BTRFS_FIRST_FREE_OBJECTID, BTRFS_LAST_FREE_OBJECTID, since + 1, look));
    std::ranges::sort(changes, {}, &Change::path);
    return changes;
}

Result<bool> changed_since(const Fd &live, const Fd &saved, uint64_t since, Compare compare) {
    bool changed = false;
    const VisitInode look = [&](uint64_t inode, const btrfs_inode_item &item) -> Result<bool> {
        // A block holds neighbours, too. Files without a name are seen by those who hold them only; whatever lost or
        // got its name shows in the directory.
        if (le64toh(item.transid) <= since || item.nlink == 0)
            return true;
        if (compare == Compare::files && S_ISDIR(le32toh(item.mode)))
            return true;
        const auto before = TRY(inode_of(saved, inode));
        changed = !before || !looks_same(inode, item, *before);
        return !changed;
    };
    TRY(each_inode(live, BTRFS_FIRST_FREE_OBJECTID, BTRFS_LAST_FREE_OBJECTID, since + 1, look));
    return changed;
}

} // namespace abey::snapshot
