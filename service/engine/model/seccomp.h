// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// One filter as it was given to seccomp(2).
struct SeccompFilter {
    Bytes program;    // struct sock_filter each (linux/filter.h)
    bool log = false; // SECCOMP_FILTER_FLAG_LOG

    bool operator==(const SeccompFilter &) const = default;
};

// seccomp(2) of one thread.
struct Seccomp {
    int32_t mode = 0;                   // SECCOMP_MODE_*
    std::vector<SeccompFilter> filters; // oldest first

    bool operator==(const Seccomp &) const = default;
};

} // namespace abey::model
