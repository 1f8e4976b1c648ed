// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the parts of `abeyctl policy` have in common.
#pragma once

#include "ctl/command.h"
#include "policy/policy.h"

namespace abey::ctl {

// The system's policy, or the file that is named; of the user and session that are named.
Result<policy::Policy> policy_for_subject(const PolicyCommand &command);

// Is anything named that `policy test` is about?
bool is_a_question(const PolicyCommand &command);

Result<int> show_policy(const PolicyCommand &command);
Result<int> test_policy(const PolicyCommand &command);

} // namespace abey::ctl
