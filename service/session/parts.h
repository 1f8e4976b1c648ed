// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is suspended when somebody asks for a session: it, or in place of a graphical one what the policy says.
#pragma once

#include "policy/service_rules.h"
#include "session/logind.h"

#include <vector>

namespace abey::session {

// Its own, too, when there is nothing to say in its place: it is refused then where it is tried. Otherwise sessions on
// terminals and units of the same user in which something runs, by id, perhaps none.
Result<std::vector<Session>> parts_of(const Logind &logind, const Session &session, const policy::Graphical &rules);

} // namespace abey::session
