// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <cstdint>
#include <string>

namespace abey::snapshot {

// How a file differs from what it was.
struct Change {
    enum class Kind : uint8_t { added, removed, changed };
    Kind kind = Kind::changed;
    std::string path; // relative to the top; bytes
    uint32_t mode = 0;
    uint64_t size_before = 0, size_now = 0; // 0: was, is not there
    model::Time mtime;                      // now; of a removed one: then
};

} // namespace abey::snapshot
