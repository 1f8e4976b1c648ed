// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The inodes of a subvolume as its tree has them: what was touched since a transaction is found without a walk through
// directories. Needs CAP_SYS_ADMIN (BTRFS_IOC_TREE_SEARCH_V2). Delayed inode items are seen only once they are in the
// tree: syncfs(2) before, where that matters.
#pragma once

#include "engine/os/fd.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <linux/btrfs_tree.h>

namespace abey::snapshot {

using VisitInode = std::function<Result<bool>(uint64_t inode, const btrfs_inode_item &item)>; // false: enough seen

// Every inode item of `tree` from inode `first` to `final` that lies in a block written in transaction `since` or
// later; a block holds neighbours, too.
Result<> each_inode(const Fd &tree, uint64_t first, uint64_t final, uint64_t since, const VisitInode &visit);

Result<std::optional<btrfs_inode_item>> inode_of(const Fd &tree, uint64_t inode);

// Of an inode in the subvolume of `tree`, relative to its top, of hard links one; nothing when it has no name.
// BTRFS_IOC_INO_LOOKUP.
Result<std::optional<std::string>> path_of(const Fd &tree, uint64_t inode);

} // namespace abey::snapshot
