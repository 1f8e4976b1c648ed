// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the btrfs provider asks of libbtrfsutil and the kernel, with errors that name the path. See btrfs-subvolume(8).
#pragma once

#include "engine/os/fd.h"

#include <cstdint>
#include <string>
#include <vector>

namespace abey::snapshot {

struct Subvolume {
    uint64_t id = 0;         // on this file system, for as long as the subvolume lives
    std::string uuid;        // 8-4-4-4-12 hex digits
    std::string parent_uuid; // of what it is a snapshot of; "" when it is none
    uint64_t created = 0;    // transaction that made it
    bool read_only = false;
};

// Opens a directory without following a symlink in its last part.
Result<Fd> open_directory(int parent, const std::string &path);
// Something of the tree below `top`, never out of it and through no symlink; a directory, unless `flags` say otherwise.
Result<Fd> open_below(const Fd &top, const std::string &path, int flags = O_RDONLY | O_DIRECTORY);

// `path` is for messages. EINVAL: not the top of a subvolume.
Result<Subvolume> subvolume_of(const Fd &directory, const std::string &path);
// The same for `name` in `parent`.
Result<Subvolume> child_subvolume(const Fd &parent, const std::string &name);
bool is_btrfs(const Fd &file);
bool is_subvolume(const Fd &directory);
// UUID of the file system.
Result<std::string> filesystem_of(const Fd &file, const std::string &path);
// Subvolumes anywhere below, as paths relative to `directory`; at most `limit` of them.
Result<std::vector<std::string>> nested_in(const Fd &directory, const std::string &path, size_t limit);

// A snapshot `name` in `parent`; the transaction is on disk when it returns, dirty data of the source included.
Result<> make_snapshot(const Fd &source, const Fd &parent, const std::string &name, bool read_only);
Result<> set_read_only(const Fd &subvolume, bool read_only, const std::string &path);
// ENOENT is no error.
Result<> make_subvolume(const Fd &parent, const std::string &name);
Result<> delete_subvolume(const Fd &parent, const std::string &name);
// Waits until the names made so far are on disk; data of files may still be dirty.
Result<> commit_transaction(const Fd &file, const std::string &path);

} // namespace abey::snapshot
