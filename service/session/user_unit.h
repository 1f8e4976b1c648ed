// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Scopes and services of a user's own service manager (user@UID.service), which may be suspended like sessions: the
// part of a graphical login that is not graphical (terminal multiplexers, what `systemd-run --user` has started), or of
// any other. Their ids are "UID/NAME.scope" and "UID/NAME.service". What is resumed comes back in a logind session of
// its own.
#pragma once

#include "engine/os/result.h"
#include "session/logind.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace abey::session {

struct UnitId {
    uid_t uid = 0;
    std::string name;
};

// EINVAL: not such an id. Pure.
Result<UnitId> unit_id(std::string_view text);
bool is_unit_id(std::string_view text);
std::string to_string(const UnitId &unit);

// What can be said of it without looking whether it runs.
Result<Session> of_unit(const UnitId &unit);

// Is the unit's name like the pattern (glob(7))? Services only when the pattern says so: nobody means them by "*".
bool is_unit_like(const std::string &pattern, const std::string &name);
// Like any of them?
bool is_unit_like(const std::vector<std::string> &patterns, const std::string &name);

// ENXIO: the user has no such unit, or nothing runs in it.
Result<Session> user_unit(const std::string &id);
// All that run, of all users, whose names `wanted` says yes to; by id.
Result<std::vector<Session>> user_units(const std::function<bool(const std::string &name)> &wanted);
// The unit that a process is in; empty: none, or a session.
std::string unit_of(pid_t pid);

// Where systemd has a session, or such a unit, for whoever cannot ask logind: absolute, and perhaps not there. Empty:
// nothing is known.
std::string usual_cgroup(const std::string &session, uid_t uid);

} // namespace abey::session
