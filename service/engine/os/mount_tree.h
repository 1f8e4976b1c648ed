// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Mounts by descriptors: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2).
#pragma once

#include "engine/os/fd.h"
#include "engine/os/mount_table.h"

namespace abey::os {

// A private copy of the mount namespace that the calling process is in, for it alone: nothing that is done there is
// seen elsewhere. The process must have no threads.
Result<> leave_mounts();

// The mount's id as mountinfo has it (statx(2), Linux 5.8).
Result<uint64_t> mount_id(const Fd &file);

// What lies at `path` below the directory, on the same mount and by no symbolic link; "": itself. O_PATH.
Result<Fd> look_below(const Fd &directory, const std::string &path);

// What an absolute path leads to for somebody whose root is that directory; the last part is not followed. O_PATH.
Result<Fd> look_in(const Fd &root, const std::string &path);

// The root of a mount of the table, which is that of the calling process; what covers it is taken away. Only after
// leave_mounts(). `prefix` goes before the places of the table.
Result<Fd> uncover(const MountTable &table, size_t index);

// A new mount of the directory or file, not yet anywhere; without the mounts below it unless `recursive`.
Result<Fd> clone_mount(const Fd &place, bool recursive = false);

// Attaches a mount that is not yet anywhere, on top of what is mounted there.
Result<> attach(const Fd &mount, const Fd &place);

// Exactly these MOUNT_ATTR_*, and private.
Result<> set_attributes(const Fd &mount, uint64_t attributes);
// MS_SHARED, MS_SLAVE, MS_UNBINDABLE
Result<> set_propagation(const Fd &mount, uint64_t propagation);
// The same peers and master as another mount of the same file system.
Result<> join_group(const Fd &mount, const Fd &other);

// A new file system of the kind, not yet mounted anywhere; `options` as mountinfo has them.
Result<Fd> new_file_system(const std::string &type, const std::string &source, const std::string &options);
// The whole file system, however it is mounted.
Result<> make_read_only(const Fd &mount);

// The mount becomes the root of the calling process and of its mount namespace, and everything else goes away there.
Result<> make_root(const Fd &mount);

} // namespace abey::os
