// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

// Reads the queues of those unix sockets that have not been read yet; files in flight there become open files of the
// tree. True when there were such sockets: then there may be new ones.
Result<bool> add_files_in_flight(Context &context);

} // namespace abey::capture
