// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/colour.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

Result<int> check_one(Client &client, const std::string &session, bool json) {
    const auto findings = TRY(client.check_session(session));
    const auto fatal = std::ranges::count_if(findings, &capture::Finding::fatal);
    if (json) {
        auto list = nlohmann::json::array();
        for (const auto &finding : findings)
            list.push_back(to_json(finding));
        print_json({{"session", session}, {"ok", fatal == 0}, {"findings", list}});
        return fatal == 0 ? 0 : 1;
    }
    const bool colour = has_colour();
    for (const auto &finding : findings) {
        const auto holder = finding.pid == 0 ? "" : fmt::format("process {} ({}), ", finding.pid, finding.comm);
        const auto word =
            finding.fatal ? painted(Tone::bad, "refused", colour) : painted(Tone::warning, "note", colour);
        fmt::print("{}: {}{}: {}\n", word, holder, finding.object, finding.reason);
        if (!finding.advice.empty())
            fmt::print("         {}\n", finding.advice);
    }
    if (fatal == 0)
        fmt::print("Session {} {}.\n", bus::printable(session), painted(Tone::good, "can be suspended", colour));
    if (fatal != 0)
        return fail(0, "session {} cannot be suspended: {} objects are refused", bus::printable(session), fatal);
    return 0;
}

} // namespace

Result<int> check(const CheckCommand &command) {
    auto client = TRY(Client::connect());
    std::vector<std::string> all;
    if (!command.unit.empty()) {
        all = TRY(units_like(command.unit));
    } else {
        const auto session = command.session.empty() ? TRY(own_session()) : command.session;
        all = TRY(parts_of(client, session));
    }
    if (all.size() > 1)
        return fail(0, "that is {} of them: {}, {}, ...; one at a time", all.size(), all[0], all[1]);
    return check_one(client, all.front(), command.json);
}

} // namespace abey::ctl
