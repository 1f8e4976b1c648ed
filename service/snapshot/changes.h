// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Did a subvolume change since a snapshot of it was made? The subvolume's generation alone says yes too often: reading
// a file (its access time) and the end of a process that held a deleted file raise it, too. So the inodes touched since
// are looked up in both trees and compared by what a user can see; cost grows with what was touched, not with the home.
#pragma once

#include "engine/os/fd.h"
#include "snapshot/change.h"

#include <cstdint>
#include <vector>

namespace abey::snapshot {

enum class Compare : uint8_t {
    all,
    files, // all but directories: what a name that came and went again does not change
};

// `live` and `saved` are tops of subvolumes, one of them a snapshot of the other, made in transaction `since`. What is
// dirty in memory must have been written (syncfs) before. Needs CAP_SYS_ADMIN (BTRFS_IOC_TREE_SEARCH_V2).
Result<bool> changed_since(const Fd &live, const Fd &saved, uint64_t since, Compare compare = Compare::all);

// The same, each by the path that it has (of hard links one); at most `limit`, by path.
Result<std::vector<Change>> list_changes(const Fd &live, const Fd &saved, uint64_t since, size_t limit);

} // namespace abey::snapshot
