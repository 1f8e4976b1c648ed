// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System V semaphores and message queues (sysvipc(7)), under the keys and identifiers that they had.
#pragma once

#include "engine/rebuild/husk.h"

namespace abey::rebuild {

// Made, or found; with values and messages, unless others use what was found. What was made here goes away with
// `context` unless the tree is let go.
Result<> make_system_v(Context &context);

// The task becomes the last user of what it was the last user of; first for all tasks use, then for all finish.
Result<> use_system_v(const model::Tree &tree, const model::Task &task, Calls &calls);
Result<> finish_system_v(const model::Tree &tree, const model::Task &task, Calls &calls);

} // namespace abey::rebuild
