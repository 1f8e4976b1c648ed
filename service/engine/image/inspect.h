// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a checkpoint holds, for people and for programs.
#pragma once

#include "engine/model/tree.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace abey::image {

// Tasks as a tree, what each has open and mapped, and the files that are kept.
std::string describe(const model::Tree &tree);

nlohmann::json to_json(const model::Tree &tree);

} // namespace abey::image
