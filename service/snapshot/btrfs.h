// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The home is a btrfs subvolume. Saved as a read-only snapshot; brought back as a writable snapshot of that, exchanged
// with the home in one rename(2) (RENAME_EXCHANGE), so that there is a home at every moment. Inode numbers stay,
// subvolume id and device number do not.
#pragma once

#include "snapshot/provider.h"

#include <functional>
#include <string_view>

namespace abey::snapshot {

// Told after each step that a kill could come after; for tests. May be null.
using StepDone = std::function<void(std::string_view)>;

// `home` is absolute and free of symlinks.
std::unique_ptr<Provider> make_btrfs(std::string home, SnapshotPlace place = {}, StepDone step_done = {});

} // namespace abey::snapshot
