// SPDX-License-Identifier: LGPL-2.1-or-later
//
// One command about several sessions or units: what the policy takes in place of a graphical session, or what a pattern
// for units matches.
#pragma once

#include "engine/os/result.h"

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace abey::ctl {

struct One {
    int status = 0;
    nlohmann::json document; // for --json, when the text is not wanted
};

// All are tried, one after the other; the worst status. With `json` one document is printed: that of the only one, or
// an array, in which a failure has "session", "ok" and "error". Without, failures of several are told on standard error
// as they come, and `begin` is called before each.
Result<int> each_of(const std::vector<std::string> &all, bool json,
                    const std::function<Result<One>(const std::string &session)> &one,
                    const std::function<void(const std::string &session)> &begin = {});

// For `begin`, where the text does not name it.
void name_session(const std::string &session);

} // namespace abey::ctl
