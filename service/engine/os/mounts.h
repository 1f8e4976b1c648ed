// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace abey::os {

// A line of /proc/PID/mountinfo, proc_pid_mountinfo(5).
struct MountEntry {
    uint64_t id = 0, parent = 0;
    unsigned major = 0, minor = 0; // of its file system
    std::string root;              // what of its file system is mounted, from the top of that; as it is called now
    std::string point;             // where, as seen from the root directory of the process
    std::string options;           // "rw,nosuid,..."
    std::string type, source;
};

// A field of such a line: spaces, tabs, newlines and backslashes are written as \040 and so on.
std::string unescaped_field(std::string_view field);

// Lines that cannot be read are left out.
std::vector<MountEntry> mounts_in(std::string_view mountinfo);
// Those of this process.
Result<std::vector<MountEntry>> own_mounts();

} // namespace abey::os
