// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is in a file, and what is written on it: moving both from one inode to another.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

namespace abey::files {

// Makes `to`, an empty regular file, share all data of `from` (ioctl_ficlone(2)): no data is moved, but what is dirty
// is written back first. A no-copy-on-write mark (chattr +C) is taken over, because btrfs refuses to share otherwise.
Result<> clone_contents(const Fd &from, const Fd &to);

// Copies `size` bytes of data and holes into `to`, an empty regular file. Both need descriptors of their own: positions
// move. It is an error when `from` has fewer bytes.
Result<> copy_contents(const Fd &from, const Fd &to, uint64_t size);

// The first that works; for restore, where either will do.
Result<> fill_contents(const Fd &from, const Fd &to, uint64_t size);

// Bytes that are not holes.
Result<uint64_t> data_size(const Fd &file);

// ENOSPC when the file system of `directory` cannot take that many bytes now. One that does not tell has space.
Result<> check_space(const Fd &directory, uint64_t bytes);

// Extended attributes with ACLs (xattr(7)); at most 64 KiB each and 1 MiB together. File systems without any give none.
Result<std::vector<std::pair<model::Bytes, model::Bytes>>> read_xattrs(const Fd &file);

// Owner, mode, extended attributes and times as saved, in the order in which none undoes another.
Result<> apply_attributes(const Fd &file, const model::Inode &inode);

} // namespace abey::files
