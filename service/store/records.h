// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The small JSON files beside an image.
#pragma once

#include "store/store.h"

namespace abey::store {

inline constexpr size_t record_limit = 1U << 20U; // bytes

std::string to_json(const snapshot::Saved &saved);
Result<snapshot::Saved> saved_from_json(std::string_view text);
struct DisplacedBy {
    snapshot::Displaced home;
    std::string attempt;
};
std::string to_json(const DisplacedBy &displaced);
Result<DisplacedBy> displaced_from_json(std::string_view text);
std::string to_json(const std::map<std::string, uint64_t> &figures);
Result<std::map<std::string, uint64_t>> figures_from_json(std::string_view text);

} // namespace abey::store
