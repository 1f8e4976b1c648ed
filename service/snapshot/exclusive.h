// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a snapshot alone keeps on disk: the space that its deletion would give back. Without quotas btrfs does not count
// that, but it tells of each extent of a file whether anybody shares it (FIEMAP_EXTENT_SHARED), and only files that the
// live subvolume has changed, replaced or removed since can hold such that nobody does. So cost grows with what has
// changed, not with the home.
#pragma once

#include "engine/os/fd.h"

#include <chrono>
#include <cstdint>
#include <optional>

namespace abey::snapshot {

using MeasureUntil = std::chrono::steady_clock::time_point;

// Bytes of data (no metadata; not what two files in the snapshot share). `live` is the subvolume of which `saved` is a
// snapshot, or a snapshot of `saved`, made in transaction `since`; an empty one: whatever is in `saved` is looked at.
// Nothing: the time was over.
Result<std::optional<uint64_t>> exclusive_data(const Fd &live, const Fd &saved, uint64_t since, MeasureUntil until);

} // namespace abey::snapshot
