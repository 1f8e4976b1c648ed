// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Restartable sequences (rseq(2), Documentation/userspace-api, kernel/rseq.c): a thread that is interrupted within a
// critical section must go on at the section's abort address. The kernel sees to that when the thread returns to user
// mode where it was; we make it run elsewhere first, after which the kernel would have forgotten the section.
#pragma once

#include "engine/os/tracee.h"

namespace abey::os {

// Moves a stopped thread that stands within a critical section to the abort address, as any preemption would. True: it
// was within one.
Result<bool> abort_critical_section(Tracee &thread, int pid, const Tracee::Rseq &registration);

} // namespace abey::os
