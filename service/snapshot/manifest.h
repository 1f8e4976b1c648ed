// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a tree of files looked like: enough to tell what has changed in it since, and which inode each name meant.
#pragma once

#include "engine/model/base.h"
#include "engine/os/fd.h"
#include "snapshot/change.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace abey::snapshot {

// What a name and an inode take on disk, about.
inline constexpr uint64_t entry_cost = 4096;
// How many of the differences between two lists a message names.
inline constexpr size_t differences_shown = 3;

struct Entry {
    std::string path; // relative; "" is the top
    uint32_t mode = 0;
    uint32_t uid = 0, gid = 0;
    uint64_t number = 0; // st_ino
    uint64_t links = 0;
    uint64_t size = 0; // bytes
    uint64_t rdev = 0;
    uint64_t blocks = 0; // of 512 bytes
    model::Time mtime, ctime;
    uint64_t hash = 0; // XXH3 of a regular file's contents; 0: not taken
};

inline constexpr size_t manifest_entry_limit = 10'000'000;
inline constexpr size_t manifest_size_limit = 2UL << 30U;

struct Manifest {
    std::vector<Entry> entries;      // by path
    std::vector<std::string> mounts; // directories with another file system or subvolume on them, which are left out
    // Set when the tree was copied after this look: files that were written to at this time or later may have been
    // written to again after the copy without another ctime, since clocks go in ticks. differences() takes them for
    // changed. Not kept by write().
    std::optional<model::Time> unsure_from;

    // Of all below `top` on its file system, symbolic links not followed. `path` is for messages. What vanishes while
    // it is looked at is left out; the same directory may be looked at twice to find out whether it stands still.
    static Result<Manifest> of(const Fd &top, const std::string &path, bool hash = false);
    static Result<Manifest> read(const Fd &directory, const std::string &name);
    // Durable, and under its name only when it is whole.
    [[nodiscard]] Result<> write(const Fd &directory, const std::string &name) const;
    // What read() reads.
    [[nodiscard]] std::string text() const;

    [[nodiscard]] const Entry *find(std::string_view path) const;
    [[nodiscard]] uint64_t bytes() const; // on disk

    // The time that a file of this tree gets which is written to now. The kernel takes it from a clock that goes in
    // ticks (fs/inode.c, inode_set_ctime_current(); before Linux 6.13 always), and a file system may keep no more than
    // seconds (ext4 with inodes of 128 bytes).
    [[nodiscard]] model::Time present() const;
};

enum class Match : uint8_t {
    same_tree, // the same inodes, untouched
    copy,      // what a copy brings along: type, mode, owner, size, mtime; sockets are nobody's matter
    files,     // as same_tree, of all but directories: what a name that came and went again does not change
};

// What differs, by path; at most `limit`. Of the top's own times nothing is said: renaming it changes them.
std::vector<Change> differences(const Manifest &before, const Manifest &now, Match match, size_t limit);

} // namespace abey::snapshot
