// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/room.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <set>
#include <vector>

#include <endian.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

namespace abey::os {
namespace {

constexpr size_t group_limit = 256; // quota groups that are looked at
constexpr uint64_t level_shift = 48;
constexpr const char *file_system = "the file system";
constexpr uint64_t for_a_name = 256U << 10U; // btrfs reserves blocks for each level of its trees

std::string name_of_group(uint64_t id) {
    return fmt::format("quota group {}/{}", id >> level_shift, id & ((1ULL << level_shift) - 1));
}

// The subvolume that a directory is in. BTRFS_IOC_INO_LOOKUP: tree 0 is that of the descriptor.
Result<uint64_t> tree_of(const Fd &directory) {
    std::vector<uint64_t> buffer(sizeof(btrfs_ioctl_ino_lookup_args) / sizeof(uint64_t) + 1);
    auto *args = reinterpret_cast<btrfs_ioctl_ino_lookup_args *>(buffer.data());
    args->objectid = BTRFS_FIRST_FREE_OBJECTID;
    if (::ioctl(directory.get(), BTRFS_IOC_INO_LOOKUP, args) < 0)
        return fail(errno, "cannot ask for the subvolume of a directory");
    return args->treeid;
}

struct Found {
    btrfs_ioctl_search_header header;
    const char *data;
};

// Items of one kind in the quota tree; ENOENT: there are no quotas. Needs CAP_SYS_ADMIN.
template <class Visit>
Result<> each_item(const Fd &directory, uint64_t object, uint32_t type, uint64_t first, uint64_t last, Visit visit) {
    btrfs_ioctl_search_args args{};
    args.key.tree_id = BTRFS_QUOTA_TREE_OBJECTID;
    args.key.min_objectid = args.key.max_objectid = object;
    args.key.min_type = args.key.max_type = type;
    args.key.min_offset = first;
    args.key.max_offset = last;
    args.key.max_transid = UINT64_MAX;
    args.key.nr_items = group_limit;
    if (::ioctl(directory.get(), BTRFS_IOC_TREE_SEARCH, &args) < 0)
        return fail(errno, "cannot read the quota groups");
    const char *at = args.buf;
    for (uint32_t i = 0; i < args.key.nr_items; ++i) {
        Found found{};
        std::memcpy(&found.header, at, sizeof found.header);
        found.data = at + sizeof found.header;
        visit(found);
        at = found.data + found.header.len;
    }
    return {};
}

template <class Item> Result<Item> item_of(const Fd &directory, uint32_t type, uint64_t group) {
    Item item{};
    TRY(each_item(directory, 0, type, group, group, [&](const Found &found) {
        std::memcpy(&item, found.data, std::min<size_t>(sizeof item, found.header.len));
    }));
    return item;
}

uint64_t left_of(uint64_t limit, uint64_t used) { return limit > used ? limit - used : 0; }

Result<> narrow_by_groups(const Fd &directory, Room &room) {
    std::vector<uint64_t> waiting = {TRY(tree_of(directory))};
    std::set<uint64_t> seen;
    while (!waiting.empty() && seen.size() < group_limit) {
        const auto group = waiting.back();
        waiting.pop_back();
        if (!seen.insert(group).second)
            continue;
        const auto info = TRY(item_of<btrfs_qgroup_info_item>(directory, BTRFS_QGROUP_INFO_KEY, group));
        const auto limit = TRY(item_of<btrfs_qgroup_limit_item>(directory, BTRFS_QGROUP_LIMIT_KEY, group));
        const auto flags = le64toh(limit.flags);
        if ((flags & BTRFS_QGROUP_LIMIT_MAX_RFER) != 0)
            room.narrow(left_of(le64toh(limit.max_rfer), le64toh(info.rfer)), name_of_group(group));
        if ((flags & BTRFS_QGROUP_LIMIT_MAX_EXCL) != 0)
            room.narrow(left_of(le64toh(limit.max_excl), le64toh(info.excl)), name_of_group(group));
        // Relations are noted both ways; parents are of a higher level
        TRY(each_item(directory, group, BTRFS_QGROUP_RELATION_KEY, 0, UINT64_MAX, [&](const Found &found) {
            if (found.header.offset >> level_shift > group >> level_shift)
                waiting.push_back(found.header.offset);
        }));
    }
    return {};
}

} // namespace

void Room::narrow(uint64_t more_bytes, const std::string &by) {
    if (more_bytes < bytes) {
        bytes = more_bytes;
        bound = by;
    }
}

Result<Room> room_in(const Fd &directory) {
    struct statvfs status {};
    struct statfs type {};
    if (::fstatvfs(directory.get(), &status) != 0 || ::fstatfs(directory.get(), &type) != 0)
        return fail(errno, "cannot ask for the space that is left");
    Room room;
    if (status.f_blocks != 0) // tmpfs without a limit says 0 of 0
        room.narrow(uint64_t{status.f_bfree} * status.f_frsize, file_system);
    if (type.f_type == BTRFS_SUPER_MAGIC) {
        const auto readable = TRY(open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY));
        if (const auto groups = narrow_by_groups(readable, room); !groups && groups.error().code() != ENOENT)
            return std::unexpected(groups.error());
    }
    return room;
}

Room room_of(const if_dqblk &quota, uint64_t now) {
    constexpr uint64_t block = 1024; // quotactl(2): limits count in these
    Room room;
    const bool over = quota.dqb_bsoftlimit != 0 && quota.dqb_curspace > quota.dqb_bsoftlimit * block;
    if ((quota.dqb_valid & QIF_BLIMITS) != 0 && quota.dqb_bhardlimit != 0)
        room.bytes = left_of(quota.dqb_bhardlimit * block, quota.dqb_curspace);
    if ((quota.dqb_valid & QIF_BTIME) != 0 && over && quota.dqb_btime != 0 && quota.dqb_btime <= now)
        room.bytes = 0; // the time of grace is over
    if ((quota.dqb_valid & QIF_ILIMITS) != 0 && quota.dqb_ihardlimit != 0)
        room.files = left_of(quota.dqb_ihardlimit, quota.dqb_curinodes);
    return room;
}

Room room_of_user(const Fd &file, uid_t uid) {
    if_dqblk quota{};
    if (::syscall(SYS_quotactl_fd, file.get(), QCMD(Q_GETQUOTA, USRQUOTA), uid, &quota) != 0)
        return {}; // ESRCH, EOPNOTSUPP, ...: no quotas here
    auto room = room_of(quota, static_cast<uint64_t>(std::time(nullptr)));
    room.bound = fmt::format("the quota of user {}", uid);
    return room;
}

Result<> check_room(const Room &room, uint64_t bytes) {
    const bool by_disk = room.bound == file_system;
    if (bytes > room.bytes || (!by_disk && room.bytes - bytes < for_a_name))
        return fail(by_disk ? ENOSPC : EDQUOT, "{} bytes are needed, and {} has {} left", bytes, room.bound,
                    room.bytes);
    return {};
}

} // namespace abey::os
