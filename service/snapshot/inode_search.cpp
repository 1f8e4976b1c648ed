// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/inode_search.h"

#include <cstring>
#include <memory>
#include <vector>

#include <linux/btrfs.h>
#include <sys/ioctl.h>

namespace abey::snapshot {
namespace {

constexpr size_t search_buffer = 64U << 10U;
constexpr uint64_t last = ~0ULL;

} // namespace

Result<> each_inode(const Fd &tree, uint64_t first, uint64_t final, uint64_t since, const VisitInode &visit) {
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
    const VisitInode take = [&found](uint64_t, const btrfs_inode_item &item) -> Result<bool> {
        found = item;
        return false;
    };
    TRY(each_inode(tree, inode, inode, 0, take));
    return found;
}

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

} // namespace abey::snapshot
