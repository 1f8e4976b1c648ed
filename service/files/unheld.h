// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What lies in XDG_RUNTIME_DIR and no process of the session holds: it vanishes when its user logs out
// (pam_systemd(8)).
#pragma once

#include "engine/files.h"
#include "engine/model/tree.h"

#include <string>

namespace abey::policy {
class Policy;
}

namespace abey::files {

// The directory of this user as logind makes it (file-hierarchy(7)).
std::string runtime_directory_of(uint32_t uid);

// What of such a directory is kept, and what is left out against the policy's wish: one line for people, empty for
// nothing.
struct Unheld {
    uint64_t files = 0, bytes = 0; // also directories in which nothing is; data without holes
    std::string left_out;
};

// Adds an inode to the tree for each file, symbolic link and directory below `directory` that the policy wants kept
// ([runtime-directory]), that belongs to the directory's owner and that is not among the tree's inodes; directories
// only when nothing is kept in them. Sockets, fifos and devices are their owners' to make again; other mounts are not
// looked into, which could be those of programs that stand still. Contents are taken by `keeper`; null: nothing is
// done, it is only told. No such directory is no error.
Result<Unheld> keep_unheld(const policy::Policy &policy, const std::string &directory, model::Tree &tree,
                           engine::FileKeeper *keeper);

// When the file system on which a directory lies was made, statx(2), by which a later one at its place is known. Zero
// where that is not told (Linux before 5.18 for tmpfs).
Result<model::Time> made_when(const Fd &directory);

} // namespace abey::files
