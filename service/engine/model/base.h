// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

namespace abey::model {

// Names one saved object within its tree; 0 names none. Ids are unique over all kinds.
using ObjRef = uint32_t;

// Uninterpreted bytes: paths, kernel structures, queue contents.
using Bytes = std::string;

struct Time {
    int64_t seconds = 0;
    uint32_t nanoseconds = 0;
    auto operator<=>(const Time &) const = default;
};

} // namespace abey::model
