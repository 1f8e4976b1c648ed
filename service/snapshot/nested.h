// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Subvolumes within a home, which a snapshot of that leaves out as empty directories: each gets a snapshot of its own
// in the place where that directory would be.
#pragma once

#include "snapshot/provider.h"
#include "snapshot/subvolume.h"

namespace abey::snapshot {

// Each costs a moment of the time in which the session stands still.
inline constexpr size_t nested_limit = 64;

// Those in `home`, those above before those below; EFBIG: more than nested_limit.
Result<std::vector<Nested>> nested_of(const Fd &home, const std::string &path);

// A snapshot `name` in `parent` with those of all `nested` ones in it, all read-only; of a half-made one nothing is
// left.
Result<> save_all(const Fd &source, const Fd &parent, const std::string &name, const std::vector<Nested> &nested);
// A writable copy of such a snapshot; nested ones that were read-only are so again.
Result<> copy_all(const Fd &saved, const Fd &parent, const std::string &name, const std::vector<Nested> &nested);
// With all that are in it, also read-only ones. One that is gone is no error.
Result<> delete_all(const Fd &parent, const std::string &name);

// Are the subvolumes in `live` those of `saved`, and unchanged?
Result<bool> nested_changed(const Fd &live, const Fd &saved, const std::vector<Nested> &nested);
// What has changed in them, by the path in the home; appended. One that came, went or is another one stands for all
// that is in it.
Result<> list_nested_changes(const Fd &live, const Fd &saved, const std::vector<Nested> &nested,
                             std::vector<Change> &changes, size_t limit);

// Of a copy and the snapshot that it was made of: are there other subvolumes in it, or other files in those?
Result<bool> nested_have_changed_files(const Fd &copy, const Fd &saved);

} // namespace abey::snapshot
