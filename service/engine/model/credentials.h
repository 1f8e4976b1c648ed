// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <array>
#include <vector>

namespace abey::model {

// What credentials(7) lists for one thread; capability sets as in /proc/PID/status, bit n = capability n.
struct Credentials {
    uint32_t uid = 0, euid = 0, suid = 0, fsuid = 0;
    uint32_t gid = 0, egid = 0, sgid = 0, fsgid = 0;
    std::vector<uint32_t> groups;
    uint64_t inheritable = 0, permitted = 0, effective = 0, bounding = 0, ambient = 0;
    uint32_t securebits = 0;
    bool no_new_privs = false;

    bool operator==(const Credentials &) const = default;
};

} // namespace abey::model
