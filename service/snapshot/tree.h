// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Homes on file systems without snapshots (ext4, XFS, tmpfs, directories in btrfs): the state is a copy, made by rsync,
// tar or cp (tree_copy.h), in a directory beside the home (tree_states.h).
//
// Most of it is copied before the freeze; while the session stands still the home is looked at again, and what has
// changed in between is copied anew. Others may go on writing meanwhile: what was looked at before and after must be
// the same, or the copy is not the state of any moment, and is made again.
//
// A roll-back makes a further copy, which is exchanged with the home in one rename(2) (RENAME_EXCHANGE). Its files have
// other inode numbers; the manifest tells which one each name had at the suspend.
//
// NILFS2 is treated alike, but that its own snapshot (nilfs2.h) stands for copy and manifest: nothing is copied or
// looked through at a suspend. It has no RENAME_EXCHANGE, so that for a moment there is no home; give_back_home() is
// for a kill in that moment.
#pragma once

#include "snapshot/btrfs.h"
#include "snapshot/tree_copy.h"

namespace abey::snapshot {

// `home` is absolute and free of symlinks.
std::unique_ptr<Provider> make_tree_provider(TreeKind kind, std::string home, StepDone step_done = {});

// Removes what a tree provider has saved under this id beside this home; nothing there is no error.
Result<> discard_tree(const std::string &home, const std::string &id);

} // namespace abey::snapshot
