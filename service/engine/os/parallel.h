// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Work on numbered blocks, shared among a few threads.
#pragma once

#include "engine/os/result.h"

#include <cstddef>
#include <functional>
#include <span>

namespace abey::os {

// Calls `work` for every block below `count`, each thread with a buffer of `buffer_size` bytes (page-aligned) of its
// own. The first error ends it. Memory-bound work gains nothing from more threads than a few.
Result<> in_parallel(size_t count, size_t buffer_size,
                     const std::function<Result<>(size_t block, std::span<std::byte> buffer)> &work);

} // namespace abey::os
