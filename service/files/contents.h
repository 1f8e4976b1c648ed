// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is in a file, and what is written on it: moving both from one inode to another.
#pragma once

#include "engine/image/digest.h"
#include "engine/model/inode.h"
#include "engine/os/fd.h"

namespace abey::files {

// Makes `to`, an empty regular file, share all data of `from` (ioctl_ficlone(2)): no data is moved, but what is dirty
// is written back first. A no-copy-on-write mark (chattr +C) is taken over, because btrfs refuses to share otherwise.
Result<> clone_contents(const Fd &from, const Fd &to);

// Copies `size` bytes of data and holes into `to`, an empty regular file. Both need descriptors of their own: positions
// move. It is an error when `from` has fewer bytes.
Result<> copy_contents(const Fd &from, const Fd &to, uint64_t size);

// The same, read once for the copy and the digests of its blocks. Only between file systems that the kernel does not
// copy between by itself (copy_file_range(2)), or share data of, see copies_itself().
Result<std::vector<image::Digest>> copy_and_digest(const Fd &from, const Fd &to, uint64_t size);
bool copies_itself(const Fd &from, const Fd &to);

// The first that works; for restore, where either will do.
Result<> fill_contents(const Fd &from, const Fd &to, uint64_t size);

// Bytes that are not holes.
Result<uint64_t> data_size(const Fd &file);

// ENOSPC when the file system of `directory` cannot take that many bytes now. One that does not tell has space.
Result<> check_space(const Fd &directory, uint64_t bytes);

// Extended attributes with ACLs (xattr(7)); at most 64 KiB each and 1 MiB together. File systems without any give none.
Result<std::vector<std::pair<model::Bytes, model::Bytes>>> read_xattrs(const Fd &file);

// Flags of chattr(1) that can be given to a file again (ioctl_iflags(2)); 0 where the file system has none.
uint32_t read_flags(const Fd &file);
// Those of them that must be set while a file is empty (no copy-on-write), and that allow everything that is done until
// the resume ends (no dump, no access times, synchronous). Not possible here is no error: copying does without, too.
void apply_first_flags(const Fd &file, uint32_t flags) noexcept;
// Append-only and immutable: a file that has them cannot be opened for writing any more, so they come last of all.
// `set`: false takes them away, so that a name can be removed. True when there was nothing to do.
bool apply_last_flags(const Fd &file, uint32_t flags, bool set) noexcept;

// Owner, mode, extended attributes and times as saved, in the order in which none undoes another; what the file has
// from its directory alone goes.
Result<> apply_attributes(const Fd &file, const model::Inode &inode);

} // namespace abey::files
