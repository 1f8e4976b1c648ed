// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/colour.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/several.h"
#include "dbus/names.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

Result<One> check_one(Client &client, const std::string &session, bool json) {
    const auto findings = TRY(client.check_session(session));
    const auto fatal = std::ranges::count_if(findings, &capture::Finding::fatal);
    if (json) {
        auto list = nlohmann::json::array();
        for (const auto &finding : findings)
            list.push_back(to_json(finding));
        return One{.status = fatal == 0 ? 0 : 1,
                   .document = {{"session", session}, {"ok", fatal == 0}, {"findings", list}}};
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
    return One();
}

} // namespace

Result<int> check(const CheckCommand &command) {
    auto client = TRY(Client::connect());
    const auto all = TRY(meant_by(client, command.session, command.unit));
    return each_of(
        all, command.json, [&](const std::string &one) { return check_one(client, one, command.json); }, name_session);
}

} // namespace abey::ctl
