// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace abey::model {

// What can be written, but is no setting: these move tasks and hand on controllers, ...
constexpr bool is_delegated_in_cgroup(std::string_view file) {
    constexpr std::array<std::string_view, 3> all = {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control"};
    return std::ranges::find(all, file) != all.end();
}
// ... these do something, begin to watch, or say what another file says.
constexpr bool is_action_in_cgroup(std::string_view file) {
    constexpr std::array<std::string_view, 8> all = {"cgroup.type",     "cgroup.kill",          "cgroup.freeze",
                                                     "memory.reclaim",  "memory.peak",          "memory.swap.peak",
                                                     "cpu.weight.nice", "cpuset.cpus.partition"};
    return file.ends_with(".pressure") || std::ranges::find(all, file) != all.end();
}

// A file of a cgroup, as far as somebody has changed it.
struct CgroupFile {
    Bytes name;
    uint32_t mode = 0, uid = 0, gid = 0;
    Bytes value; // of a setting; empty: not one
};

// A cgroup v2 below that of the session (Documentation/admin-guide/cgroup-v2.rst).
struct Cgroup {
    Bytes path; // below the session's
    bool threaded = false;
    uint32_t mode = 0, uid = 0, gid = 0;
    Bytes controllers;             // cgroup.subtree_control, "" when none
    std::vector<CgroupFile> files; // settings, and what belongs to another user than the directory's maker
};

} // namespace abey::model
