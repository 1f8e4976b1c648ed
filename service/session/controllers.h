// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <string>

namespace abey::session {

// Refused: a session's cgroup (its directory) that hands controllers on to cgroups below it. A resumed session's holds
// the keeper, and none with processes in it may (cgroup_vet_subtree_control_enable() in kernel/cgroup/cgroup.c,
// cgroups(7), "no internal processes").
Result<> refuse_controllers(const std::string &cgroup);

} // namespace abey::session
