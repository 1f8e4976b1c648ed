// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Does a tree that was read make sense as a whole? An image is input like any other.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"

namespace abey::image {

// References lead to objects of the right kind, ids are unique, mappings and page runs are aligned, ordered and within
// bounds, kernel structures have their sizes. The error names the object.
Result<> check(const model::Tree &tree, uint64_t pages_size);

} // namespace abey::image
