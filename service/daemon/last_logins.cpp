// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/login_ends.h"

#include <algorithm>
#include <utility>

namespace abey::daemon {

std::vector<std::string> LastLogins::lost(const std::map<std::string, std::vector<std::string>> &lists,
                                          std::set<std::string> living) {
    const auto before = std::exchange(living_, std::move(living));
    const auto lives = [&](const std::string &login) { return living_.contains(login); };
    const auto has_ended = [&](const std::string &login) { return before.contains(login) && !lives(login); };
    std::vector<std::string> lost;
    for (const auto &[session, logins] : lists)
        if (std::ranges::any_of(logins, has_ended) && std::ranges::none_of(logins, lives))
            lost.push_back(session);
    return lost;
}

} // namespace abey::daemon
