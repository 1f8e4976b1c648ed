// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A model::Tree as bytes (protobuf, image.proto), and back.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"

#include <string>
#include <string_view>

namespace abey::image {

struct Encoded {
    std::string tasks;
    std::string objects;
};

Result<Encoded> encode(const model::Tree &tree);

// The bytes may be anybody's: everything is checked, references too, before a tree is given. `pages_size`: of the file
// that page runs lie in.
Result<model::Tree> decode(std::string_view tasks, std::string_view objects, uint64_t pages_size);

} // namespace abey::image
