// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which checkpoints have been kept for long enough. Pure.
#pragma once

#include "daemon/checkpoints.h"
#include "policy/service_rules.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace abey::daemon {

struct Pruned {
    std::string id; // of the checkpoint, or where the displaced home is
    uint32_t uid = 0;
    std::string reason;    // for people: "older than 30 days"
    std::string displaced; // name of its record; empty: a checkpoint
};

// `checkpoints` are of all who are asked about, and of nobody else: who may not remove what others have makes room with
// their own. Oldest first. `of_users`: rules of those for whom there are some of their own. `now`: microseconds since
// 1970; `free`: bytes. Never one that is pinned.
std::vector<Pruned> to_prune(std::span<const Checkpoint> checkpoints, const policy::Retention &rules, uint64_t now,
                             uint64_t free, const std::map<uint32_t, policy::Retention> &of_users = {});

// The same of homes that resumes have displaced, oldest first. Never one that is still needed.
std::vector<Pruned> to_prune(std::span<const DisplacedHome> homes, const policy::Retention &rules, uint64_t now,
                             const std::map<uint32_t, policy::Retention> &of_users = {});

} // namespace abey::daemon
