// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How much may still be written somewhere, as far as it can be known beforehand: free space, quota groups of btrfs and
// quotas of users. Project quotas of ext4 and XFS are in what statvfs(3) says of a directory.
#pragma once

#include "engine/os/fd.h"

#include <cstdint>
#include <string>

#include <linux/quota.h>

namespace abey::os {

struct Room {
    uint64_t bytes = UINT64_MAX; // no limit is known
    uint64_t files = UINT64_MAX;
    std::string bound; // what the limit is, for messages: "the file system"
    // The nearer of two limits.
    void narrow(uint64_t more_bytes, const std::string &by);
};

// In a directory, which may be open by O_PATH. Root is not exempt from these limits. Of btrfs as of the last commit
// (btrfs-quota(5)).
Result<Room> room_in(const Fd &directory);

// That a user's quota leaves on the file system of `file` (quotactl_fd(2)): root may fill it beyond the limit, but then
// the user can write nothing any more. Without quotas there is no limit.
Room room_of_user(const Fd &file, uid_t uid);
// What one record of that says at a time (seconds since 1970).
Room room_of(const if_dqblk &quota, uint64_t now);

// ENOSPC or EDQUOT: `bytes` do not fit. A quota group must have some room for a new name, too, also when no data comes:
// unlike a file system it has no reserve.
Result<> check_room(const Room &room, uint64_t bytes);

} // namespace abey::os
