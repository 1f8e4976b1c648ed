// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/rebuild/husk.h"

namespace abey::rebuild {

// POSIX timers (timer_create(2)) and interval timers (setitimer(2)) of a process, by its first thread. All others are
// there already.
Result<> set_timers(Husk &husk, const model::Task &task, Calls &calls);

// A queued signal that is not to be queued again: set_timers() lets its timer run out.
bool comes_from_timer(const model::Task &task, const model::Bytes &info);

} // namespace abey::rebuild
