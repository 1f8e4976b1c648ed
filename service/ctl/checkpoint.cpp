// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/job_watch.h"
#include "ctl/output.h"
#include "dbus/names.h"
#include "engine/os/user.h"
#include "session/frontend.h"
#include "session/logind.h"
#include "session/user_unit.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

// Why nobody could checkpoint such a session, which is nobody's failure then; empty: it is tried.
std::string why_skipped(const session::Session &session) {
    if (session::is_graphical(session))
        return fmt::format("it is graphical ({})", session.type);
    const auto processes = session::processes_in(session.cgroup);
    if (processes && processes->size() == session::frontend(*processes, session.leader).size())
        return "nothing runs in it but the login itself";
    return "";
}

// Units that the policy takes in place of a graphical session; sessions on terminals stand for themselves.
Result<> add_units(Client &client, const session::Session &graphical, std::vector<session::Session> &sessions) {
    for (const auto &id : TRY(client.list_parts(graphical.id)))
        if (session::is_unit_id(id) && std::ranges::find(sessions, id, &session::Session::id) == sessions.end())
            sessions.push_back(TRY(session::user_unit(id)));
    return {};
}

// Of a user, who need not have any; or the one that is meant by "session-3", as its scope is called.
Result<std::vector<session::Session>> sessions_of(const session::Logind &logind, const std::string &whose) {
    constexpr std::string_view prefix = "session-";
    auto user = TRY(os::find_user(whose));
    uid_t uid = 0;
    if (const auto [end, error] = std::from_chars(whose.data(), whose.data() + whose.size(), uid);
        !user && error == std::errc{} && end == whose.data() + whose.size())
        user = TRY(os::find_user(uid));
    if (user) {
        auto sessions = TRY(logind.sessions_of(user->uid));
        std::erase_if(sessions, [](const session::Session &one) { return !session::is_suitable(one); });
        return sessions;
    }
    const auto id = whose.starts_with(prefix) ? whose.substr(prefix.size()) : "";
    if (!bus::is_session_id(id))
        return fail(0, "there is no user {}, and a session would be called {}N, with logind's id for N",
                    bus::printable(whose), prefix);
    auto session = TRY(logind.session(id));
    if (!session::is_suitable(session))
        return fail(0, "session {} is no user's, or is ending", id);
    return std::vector{std::move(session)};
}

} // namespace

// For timers: all sessions of a user, one after the other, or one. One that cannot be checkpointed does not keep the
// others from it.
Result<int> checkpoint(const CheckpointCommand &command) {
    const auto logind = TRY(session::Logind::connect());
    auto sessions = TRY(sessions_of(logind, command.whose));
    auto document = nlohmann::json::array();
    int status = 0;
    auto client = TRY(Client::connect());
    std::map<std::string, std::string> without_units; // and why
    for (size_t i = 0; i < sessions.size(); i++)
        if (const auto one = sessions[i]; session::is_graphical(one))
            if (const auto added = add_units(client, one, sessions); !added)
                without_units[one.id] = added.error().message();
    for (const auto &session : sessions) {
        const auto without = without_units.find(session.id);
        if (const auto skipped = without != without_units.end() ? without->second : why_skipped(session);
            !skipped.empty()) {
            if (command.json)
                document.push_back(
                    {{"session", session.id}, {"ok", true}, {"checkpoint", ""}, {"error", ""}, {"skipped", skipped}});
            else
                fmt::print("Session {} is left as it is: {}.\n", session.id, skipped);
            continue;
        }
        const auto end = run_job(client, "checkpoint", false, [&] {
            return client.suspend_session(session.id, {{"keep-running", ""}, {"trigger", "timer"}});
        });
        const auto problem = !end ? end.error().message() : end->result == "done" ? "" : end->message;
        if (!problem.empty())
            status = 1;
        if (command.json)
            document.push_back({{"session", session.id},
                                {"ok", problem.empty()},
                                {"checkpoint", end ? end->checkpoint : ""},
                                {"error", problem},
                                {"skipped", ""}});
        else if (problem.empty())
            fmt::print("Session {}: checkpoint {}.\n", session.id, end->checkpoint);
        else
            fmt::print(stderr, "abeyctl: session {} was not checkpointed: {}\n", session.id, bus::printable(problem));
    }
    if (command.json)
        print_json(document);
    else if (sessions.empty())
        fmt::print("No sessions of {}.\n", bus::printable(command.whose));
    return status;
}

} // namespace abey::ctl
