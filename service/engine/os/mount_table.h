// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The mounts of a mount namespace as /proc/PID/mountinfo tells them (proc_pid_mountinfo(5)), parents before children.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace abey::os {

struct MountLine {
    int id = 0, parent = 0; // the first one's parent is not in the table
    unsigned major = 0, minor = 0;
    std::string root;           // what of the file system is mounted
    std::string place;          // as seen from the root of the process that was asked about
    uint64_t attributes = 0;    // MOUNT_ATTR_*
    int shared = 0, master = 0; // peer groups
    bool unbindable = false;
    std::string type, source, options; // options: the file system's own
    size_t above = 0;                  // index of the parent in the table; of the first: 0

    [[nodiscard]] bool same_file_system(const MountLine &other) const {
        return major == other.major && minor == other.minor;
    }
};

using MountTable = std::vector<MountLine>;
Result<MountTable> parse_mounts(std::string_view text);
Result<MountTable> read_mounts(int pid);

// The how-maniest it is of those that are mounted on top of each other at its place, from 0.
uint32_t level_of(const MountTable &table, size_t index);
// What is to be taken away before the root of a mount can be reached by its place, in this order.
std::vector<size_t> in_the_way(const MountTable &table, size_t index);
// The part of `path` below `directory`, without a leading slash; nothing when it does not lie there.
std::optional<std::string> below(std::string_view path, std::string_view directory);

} // namespace abey::os
