// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a tree needs to find again on the machine that it is restored on.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"
#include "engine/os/vdso.h"

#include <string>

namespace abey::engine {

// Another one after each boot (random(4)).
Result<std::string> boot_id();

// This machine, now.
Result<model::Machine> this_machine();

// The clocks as `pid` sees them: a time namespace shifts CLOCK_MONOTONIC and CLOCK_BOOTTIME (time_namespaces(7)).
Result<model::Clocks> clocks_of(int pid);

// The clocks of the initial time namespace, which offsets of all others count from.
Result<model::Clocks> initial_clocks();

// What a time namespace has to add to the clocks of the initial one so that none of `saved` goes back; nanoseconds. It
// has one number for CLOCK_MONOTONIC and CLOCK_MONOTONIC_RAW, which differ by what was corrected since the boot
// (adjtimex(2)): one of them jumps forward.
struct ClockOffsets {
    int64_t monotonic = 0, boottime = 0;
};
ClockOffsets offsets_to_go_on(const model::Clocks &saved, const model::Clocks &initial);

// Can a tree of that machine run on this one's CPU? The error says what differs.
Result<> check_machine(const model::Machine &saved, const model::Machine &here);

// How programs of that machine's kernel reach the functions of this one's, whose vDSO is another.
Result<os::VdsoBridge> vdso_bridge(const model::Machine &saved, const model::Machine &here);

} // namespace abey::engine
