// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Work on numbered blocks, shared among a few threads.
#pragma once

#include "engine/os/result.h"

#include <cstddef>
#include <functional>
#include <span>

namespace abey::image {

// Calls `work` for every block below `count`, each thread with a buffer of one block (page-aligned) of its own. The
// first error ends it. Memory-bound work gains nothing from more threads than a few.
Result<> in_parallel(size_t count, const std::function<Result<>(size_t block, std::span<std::byte> buffer)> &work);

} // namespace abey::image
