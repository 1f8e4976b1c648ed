// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Copies of a directory tree by the programs that are known to do it well: rsync(1), tar(1), cp(1). Owners, modes,
// times, hard links, holes, extended attributes and ACLs come along; file flags (chattr(1)) and sockets do not.
#pragma once

#include "engine/os/result.h"
#include "snapshot/manifest.h"
#include "snapshot/provider.h"

#include <string>

namespace abey::snapshot {

enum class TreeKind : uint8_t {
    rsync,    // a tree in which what has not changed since the last one is hard-linked to it
    tar,      // archives: a full one, and one with the changes of each later state
    reflink,  // a tree that shares all data with the home
    nilfs2,   // no copy: a snapshot of the file system
    manifest, // no copy: only what there was
};

std::string_view name_of(TreeKind kind);

// A saved state: the directory that belongs to it, and what lay in the home then.
struct TreeState {
    std::string place;
    const Manifest *manifest = nullptr;
};

// The program that this kind needs; ENOENT says what to install.
Result<> check_program(TreeKind kind);

// Copies `home`, which looks like `now`, into the empty directory `place`. `last`: the state before, or null. The files
// may be changing: who calls looks before and after.
Result<> save_tree(TreeKind kind, const std::string &home, const Manifest &now, const std::string &place,
                   const TreeState *last, const CopyProgress &progress);

// The copy in `place`, made when the home looked like `then`, becomes one of what it is `now`.
Result<> update_tree(TreeKind kind, const std::string &home, const Manifest &then, const Manifest &now,
                     const std::string &place);

// The tree in a saved state, where there is one: PLACE/tree.
std::string tree_in(const std::string &place);

// Makes `destination`, which does not exist, from what save_tree() has made. Of progress only tar tells.
Result<> make_tree(TreeKind kind, const std::string &place, const std::string &destination,
                   const CopyProgress &progress);

// The same from a tree that lies elsewhere.
Result<> copy_tree(const std::string &source, const std::string &destination, const CopyProgress &progress);

// Can files beside the home share data with those in it? Tries, and leaves nothing behind.
bool can_reflink(const std::string &home);

} // namespace abey::snapshot
