// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/inode.h"
#include "engine/os/result.h"

#include <string>
#include <vector>

namespace abey::files {

// The directories above a path, the nearest first. Its text comes from the kernel and has no links in it; whoever puts
// one there now hides what is above.
Result<std::vector<model::Above>> above_of(const std::string &path);

} // namespace abey::files
