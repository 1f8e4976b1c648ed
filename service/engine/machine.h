// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a tree needs to find again on the machine that it is restored on.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"

namespace abey::engine {

// This machine, now.
Result<model::Machine> this_machine();

// The clocks as `pid` sees them: a time namespace shifts CLOCK_MONOTONIC and CLOCK_BOOTTIME (time_namespaces(7)).
Result<model::Clocks> clocks_of(int pid);

// The clocks of the initial time namespace, which offsets of all others count from.
Result<model::Clocks> initial_clocks();

// Can a tree of that machine run on this one? The error says what differs.
Result<> check_machine(const model::Machine &saved, const model::Machine &here);

} // namespace abey::engine
