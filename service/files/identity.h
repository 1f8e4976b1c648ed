// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What makes a file itself: taking it down, and telling whether a file met later is the same one.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <optional>
#include <string>
#include <string_view>

namespace abey::files {

// A path or other bytes in one line of a message: control bytes as \xNN.
std::string printable(std::string_view bytes);

// "regular file", "directory", ...
std::string_view type_name(uint32_t mode);

// The same inode through another open file of its own, made through /proc/self/fd: position and flags of `file` stay
// untouched. Works for files without a name and for O_PATH descriptors. Never for symbolic links.
Result<Fd> reopen(const Fd &file, int flags);
std::string magic_link(const Fd &file); // "/proc/self/fd/N"

// Fills identity, mode, owner, links, size, rdev and times. Any kind of descriptor, O_PATH too.
Result<> describe(const Fd &file, model::Inode &inode);

// The mount that a file was opened through, statx(2); also of O_PATH descriptors.
Result<uint64_t> mount_of(const Fd &file);

// Device and inode number are equal: one inode, seen at one time.
bool is_same_inode(const struct stat &a, const struct stat &b);

enum class Place : uint8_t {
    same,       // where it was at the capture
    translated, // in a snapshot of it, or what was made from one: subvolume, device and fsid are others
    copied,     // a copy: the inode number is another, too
};

// Why `now` is not the file that was saved, or not in the state that it was saved in; nothing when it is.
// Compared are type, file system, subvolume, inode number, generation (where known), and for regular files size and
// time of the last modification. For devices the device number counts, for directories in memory and for what the
// kernel itself shows (proc, sysfs) there is no lasting number: type, owner and name have to do.
std::optional<std::string> difference(const model::Inode &saved, const model::Inode &now, Place place);

} // namespace abey::files
