// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

// How often a POSIX timer has run over since its signal was queued that nobody has taken yet: the kernel tells that
// only at the signal's delivery, so it is read from the kernel's memory, and written where the delivery would:
// si_overrun of the queued signal. Where that cannot be, it stays 0. `tid`: one of the process's threads, as we see it;
// its timers have just been asked for their time, which is when the kernel counts.
void tell_overruns(Context &context, int tid, model::Task &task);

} // namespace abey::capture
