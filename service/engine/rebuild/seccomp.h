// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System call filters. They do not apply to what a husk is made to do: ptrace suspends them until it is let go.
#pragma once

#include "engine/rebuild/husk.h"

namespace abey::rebuild {

// Once all threads exist and before any gives up its privileges: suspends filters in all threads of the husk, and
// gives all of them together those that all have in common, so that a later synchronisation (SECCOMP_FILTER_FLAG_TSYNC)
// finds one family of filters.
Result<> set_common_filters(Husk &husk, const model::Task &task);

// The others of one thread.
Result<> set_own_filters(Calls &calls, const model::Task &task, size_t thread);

} // namespace abey::rebuild
