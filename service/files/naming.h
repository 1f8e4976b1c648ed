// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which name leads to an open file now?
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <string>

namespace abey::files {

// An O_PATH descriptor of what `path` leads to below `root` (which it cannot leave), the last part not followed.
Result<Fd> look_up(const Fd &root, const std::string &path);

// Sets inode.naming, path and other_path; the rest of the inode is already described. `shown` is the text of the link
// in /proc: it follows renames, and ends in " (deleted)" when that name was removed or taken by another file (proc(5)).
// A file may really be called so, so the text is looked up as it is, first. `elsewhere`: only below `root`.
Result<> find_name(const Fd &file, const std::string &shown, const Fd &root, bool elsewhere, model::Inode &inode);

} // namespace abey::files
