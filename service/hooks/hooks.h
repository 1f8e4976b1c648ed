// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Programs of the administrator's or the user's that are run around a suspend and a resume ([[hook]] in the policy).
// Each gets a JSON object on its standard input and the main facts in its environment: ABEYANCE_EVENT,
// ABEYANCE_CHECKPOINT, ABEYANCE_USER, ABEYANCE_UID, ABEYANCE_HOME, ABEYANCE_SESSION, ABEYANCE_RESULT ("ok", "failed";
// after the event).
#pragma once

#include "engine/os/result.h"
#include "policy/hook_rules.h"

#include <cstdint>
#include <string>
#include <vector>

namespace abey::hooks {

struct Facts {
    std::string checkpoint; // id
    std::string user;
    uint32_t uid = 0;
    std::string home;
    std::string session; // the logind session; pre-resume: that of the suspend
    bool keep_running = false;
    std::string trigger; // of a suspend by itself; empty: a call
    std::string details; // a JSON object with what else there is to know, as it goes into "details"; may be empty
    std::string error;   // post: why it failed; empty: it did not
};

// Runs those rules of `rules` that are for this event and user, in their order, each to its end. Before an event the
// first failure ends it and is returned. After an event all are run, and the first failure is returned at the end.
Result<> run(const std::vector<policy::HookRule> &rules, policy::HookEvent event, const Facts &facts);

} // namespace abey::hooks
