// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A home that is a btrfs subvolume and a mount point of its own, as installers of distributions make it. All is done as
// for any other subvolume (btrfs.h), but in the top level of its file system, mounted for us; then the mount is
// renewed. The directory .abeyance beside the subvolume is shown in /run/abeyance/homes/, where displaced homes can be
// reached.
#pragma once

#include "snapshot/btrfs.h"

namespace abey::snapshot {

inline constexpr const char *mounted_homes = "/run/abeyance/homes";

// `home` is absolute and free of symlinks; `shown` is made when missing.
std::unique_ptr<Provider> make_mounted_btrfs(std::string home, SnapshotPlace place = {}, StepDone step_done = {},
                                             std::string shown = mounted_homes);

// The top level of the file system itself is mounted there: it has no name that could be exchanged.
bool is_whole_file_system(const std::string &home);

} // namespace abey::snapshot
