// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/parts.h"

#include "session/user_unit.h"

#include <algorithm>

namespace abey::session {

Result<std::vector<Session>> parts_of(const Logind &logind, const Session &session, const policy::Graphical &rules) {
    if (!is_graphical(session) || rules.scope == policy::GraphicalScope::nothing)
        return std::vector{session};
    std::vector<Session> parts;
    if (rules.scope == policy::GraphicalScope::terminal_sessions) {
        parts = TRY(logind.sessions_of(session.uid));
        std::erase_if(parts, [](const Session &one) { return is_graphical(one) || !is_suitable(one); });
    } else {
        parts = TRY(user_units([&](const std::string &name) { return is_unit_like(rules.units, name); }));
        std::erase_if(parts, [&](const Session &one) { return one.uid != session.uid; });
    }
    std::ranges::sort(parts, {}, &Session::id);
    return parts;
}

} // namespace abey::session
