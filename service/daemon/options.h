// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The a{sv} of a call, checked: an option that nobody knows is an error, never ignored.
#pragma once

#include "daemon/answer.h"

#include <map>
#include <string>
#include <variant>

namespace abey::daemon {

using Options = std::map<std::string, std::variant<bool, std::string>>;

struct SuspendOptions {
    bool keep_running = false;
    bool after_disconnect = false;
    std::string trigger; // "timer"; empty: a person asks
};

struct PruneOptions {
    bool dry_run = false;
};

struct ResumeOptions {
    std::string pids;          // empty: as the policy says
    std::string on_divergence; // empty: as the policy says
};

Answer<SuspendOptions> suspend_options(const Options &options);
Answer<ResumeOptions> resume_options(const Options &options);
Answer<PruneOptions> prune_options(const Options &options);

} // namespace abey::daemon
