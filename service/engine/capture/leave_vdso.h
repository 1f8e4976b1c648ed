// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/freeze.h"

namespace abey::capture {

// The place of the vDSO of a process; empty: it has none.
std::pair<uint64_t, uint64_t> vdso_of(int pid);

// Does it stand in one of the functions there, where it could not go on under another kernel? At the end of a system
// call it could (os/vdso.h).
bool stands_within(int pid, const user_regs_struct &registers, const std::pair<uint64_t, uint64_t> &vdso);

// Threads that stand within the vDSO run on for some dozen microseconds, while all others stand, and again, until they
// are found elsewhere: in its functions they could not come back under another kernel, which has others. They do what
// they would have done; whoever ends us meanwhile changes nothing about that. Those of stopped jobs cannot, nor does
// everybody who does nothing else succeed: it stays where it is.
//
// False: threads or processes have come or gone meanwhile, or were stopped, so that all is to be looked at anew.
Result<bool> leave_vdso(std::vector<Stopped> &processes, const Target &target);

} // namespace abey::capture
