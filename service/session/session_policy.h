// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The administrator's policy as it holds for one session.
#pragma once

#include "policy/policy.h"
#include "session/logind.h"

namespace abey::session {

inline Result<policy::Policy> policy_for(const Session &session, const policy::Policy &all) {
    return all.of(session.uid, session.id, session.service, session.tty);
}

// Read now.
inline Result<policy::Policy> policy_for(const Session &session) {
    return policy::policy_for(session.uid, session.id, session.service, session.tty);
}

} // namespace abey::session
