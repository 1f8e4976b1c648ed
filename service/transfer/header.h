// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a stream says of itself, its first record: JSON.
#pragma once

#include "engine/os/result.h"
#include "store/store.h"

#include <string>
#include <string_view>

namespace abey::transfer {

inline constexpr size_t header_limit = 1U << 20U;
inline constexpr size_t manifest_limit = 64U << 20U;

struct Header {
    store::About about;
    bool has_home = false;
    std::map<std::string, uint64_t> figures;
};

std::string header_of(const store::Checkpoint &checkpoint);
// EINVAL: malformed, of another version, or with something in it that cannot be.
Result<Header> header_from(std::string_view text);

} // namespace abey::transfer
