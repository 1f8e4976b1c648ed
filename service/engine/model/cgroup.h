// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

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
