// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/fdinfo.h"
#include "engine/capture/kind.h"

namespace abey::capture {

// Finds the file that a watch or mark is on, which the kernel describes without a name.
Result<model::Watch> capture_watch(Context &context, const Seen &holder, const WatchLine &line);

} // namespace abey::capture
