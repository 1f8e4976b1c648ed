// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/freeze.h"
#include "engine/capture/kind.h"

namespace abey::capture {

// The cgroups below the target's own, with their settings and owners: all of them when the target is a cgroup, those
// with tasks in them otherwise. Before the tasks are captured.
Result<> capture_cgroups(Context &context, const StandStill &still);

// Of a thread that is in another one than its process (threaded mode); empty: it is in the same. `tid` as we see it.
std::string cgroup_of_thread(Context &context, int tid);

} // namespace abey::capture
