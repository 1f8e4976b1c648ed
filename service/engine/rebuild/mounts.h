// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Mount namespaces (mount_namespaces(7)) that programs of the tree had made. Each is put together by a process of its
// own out of new file systems and of mounts of the session, and held by a descriptor.
#pragma once

#include "engine/rebuild/kind.h"

namespace abey::rebuild {

// `owner`: the descriptor of the user namespace that it belongs to; null: the session's.
Result<Fd> make_mounts(Context &context, const model::Namespace &ns, const Fd *owner);

// The same file, now that it is open, and on the mount on which it was: one of another mount namespace would be a way
// out of this one.
Result<Fd> open_inode(Context &context, const model::Inode &inode, uint32_t flags);

// Fills a new file system of memory. `owner`: that of the user namespace in which it was made.
Result<> fill_file_system(Context &context, const model::FileSystem &file_system, const Fd &top,
                          const model::Namespace *owner);

} // namespace abey::rebuild
