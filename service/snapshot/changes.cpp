// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/changes.h"

#include "snapshot/area.h"
#include "snapshot/subvolume.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace abey::snapshot {
namespace {

constexpr size_t search_buffer = 64U << 10U;
constexpr uint64_t last = ~0ULL;

using Visit = std::function<Result<bool>(uint64_t inode, const btrfs_inode_item &item)>; // false: enough seen

// Every inode item of `tree` from inode `first` to `final` that lies in a block written in transaction `since` or
// later.
Result<> each_inode(const Fd &tree, uint64_t first, uint64_t final, uint64_t since, const Visit &visit) {
    std::vector<uint64_t> buffer((sizeof(btrfs_ioctl_search_args_v2) + search_buffer) / sizeof(uint64_t));
    auto *args = reinterpret_cast<btrfs_ioctl_search_args_v2 *>(buffer.data());
    btrfs_ioctl_search_key from{};
    from.min_objectid = first;
    from.max_objectid = final;
    from.max_offset = last;
    from.min_transid = since;
    from.max_transid = last;
    from.max_type = 255;
    for (;;) {
        args->key = from; // tree_id 0: the subvolume of `tree`
        args->key.nr_items = ~0U;
        args->buf_size = search_buffer;
        if (::ioctl(tree.get(), BTRFS_IOC_TREE_SEARCH_V2, args) < 0)
            return fail(errno, "cannot read the subvolume's inodes");
        if (args->key.nr_items == 0)
            return {};
        const auto *at = reinterpret_cast<const char *>(buffer.data()) + sizeof(btrfs_ioctl_search_args_v2);
        btrfs_ioctl_search_header header{};
        for (uint32_t i = 0; i < args->key.nr_items; ++i) {
            std::memcpy(&header, at, sizeof header);
            at += sizeof header;
            if (header.type == BTRFS_INODE_ITEM_KEY && header.len >= sizeof(btrfs_inode_item) &&
                header.objectid >= BTRFS_FIRST_FREE_OBJECTID && header.objectid <= BTRFS_LAST_FREE_OBJECTID) {
                btrfs_inode_item item{};
                std::memcpy(&item, at, sizeof item);
                if (!TRY(visit(header.objectid, item)))
                    return {};
            }
            at += header.len;
        }
        // Go on behind the last key; min_* is one compound key (btrfs_ioctl_search_key).
        from.min_objectid = header.objectid;
        from.min_type = header.type;
        from.min_offset = header.offset;
        if (++from.min_offset == 0 && ++from.min_type > 255) {
            from.min_type = 0;
            if (++from.min_objectid == 0)
                return {};
        }
        if (from.min_objectid > final)
            return {};
    }
}

Result<std::optional<btrfs_inode_item>> inode_of(const Fd &tree, uint64_t inode) {
    std::optional<btrfs_inode_item> found;
    const Visit take = [&found](uint64_t, const btrfs_inode_item &item) -> Result<bool> {
        found = item;
        return false;
    };
    TRY(each_inode(tree, inode, inode, 0, take));
    return found;
}

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

// Of an inode in the subvolume of `tree`, relative to its top; nothing when it has no name. BTRFS_IOC_INO_LOOKUP.
Result<std::optional<std::string>> path_of(const Fd &tree, uint64_t inode) {
    if (inode == BTRFS_FIRST_FREE_OBJECTID)
        return "";
    auto args = std::make_unique<btrfs_ioctl_ino_lookup_args>();
    args->objectid = inode;
    if (::ioctl(tree.get(), BTRFS_IOC_INO_LOOKUP, args.get()) < 0) {
        if (errno == ENOENT)
            return std::nullopt;
        return fail(errno, "cannot ask for the path of inode {}", inode);
    }
    std::string path(args->name, ::strnlen(args->name, sizeof args->name));
    while (path.ends_with('/'))
        path.pop_back();
    return path;
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
    const auto before = TRY(open_directory(saved.get(), then->empty() ? "." : *then));
    const auto after = TRY(open_directory(live.get(), now->empty() ? "." : *now));
    for (const auto &name : TRY(names_in(before))) {
        struct stat status {};
        if (changes.size() >= limit)
            return {};
        if (::fstatat(after.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 ||
            ::fstatat(before.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        changes.push_back({.kind = Change::Kind::removed,
                           .path = then->empty() ? name : *then + "/" + name,
                           .mode = status.st_mode,
                           .size_before = static_cast<uint64_t>(status.st_size),
                           .size_now = 0,
                           .mtime = {.seconds = status.st_mtim.tv_sec,
                                     .nanoseconds = static_cast<uint32_t>(status.st_mtim.tv_nsec)}});
    }
    return {};
}

} // namespace

Result<std::vector<Change>> list_changes(const Fd &live, const Fd &saved, uint64_t since, size_t limit) {
    std::vector<Change> changes;
    const Visit look = [&](uint64_t inode, const btrfs_inode_item &item) -> Result<bool> {
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
    const Visit look = [&](uint64_t inode, const btrfs_inode_item &item) -> Result<bool> {
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
