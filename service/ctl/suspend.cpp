// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/job_watch.h"
#include "ctl/output.h"
#include "ctl/several.h"
#include "dbus/names.h"
#include "session/user_unit.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <unistd.h>

namespace abey::ctl {
namespace {

// This process belongs to the session that is to stand still: it must be gone, and its connection to the bus with it,
// before the session is looked at. The daemon waits for that; how it ended is told on the terminal.
Result<One> suspend_from_within(Client &client, const std::string &session, CallOptions options, bool json) {
    options["after-disconnect"] = "";
    const auto job = TRY(client.suspend_session(session, options));
    const auto checkpoint =
        TRY(bus::string_property(client.bus(), bus::service_name, job, bus::job_interface, "Checkpoint"));
    if (!json)
        fmt::print("Session {} is being suspended as checkpoint {}.\n", session, checkpoint);
    return One{.status = 0,
               .document = {{"ok", true}, {"result", "started"}, {"session", session}, {"checkpoint", checkpoint}}};
}

Result<One> suspend_one(Client &client, const SuspendCommand &command, const std::string &session, bool within) {
    CallOptions options;
    if (command.keep_running)
        options["keep-running"] = "";
    if (within)
        return suspend_from_within(client, session, options, command.json);
    const auto end =
        TRY(run_job(client, "suspend", !command.json, [&] { return client.suspend_session(session, options); }));
    if (end.result != "done")
        return fail(0, "session {} was not suspended: {}", session, end.message);
    if (!command.json) {
        fmt::print("Session {} is suspended as checkpoint {}{}.\n", session, end.checkpoint,
                   command.keep_running ? ", and runs on" : "");
        if (const auto line = figures_line(end.figures); !line.empty())
            fmt::print("{}\n", line);
        if (!end.message.empty())
            fmt::print("{}\n", end.message);
    }
    return One{.status = 0, .document = to_json(end)};
}

// The one that we are in comes last: with it we end.
Result<int> suspend_all(Client &client, const SuspendCommand &command, std::vector<std::string> all,
                        const std::string &own) {
    std::ranges::stable_partition(all, [&](const std::string &one) { return one != own; });
    return each_of(all, command.json,
                   [&](const std::string &one) { return suspend_one(client, command, one, one == own); });
}

} // namespace

Result<int> suspend(const SuspendCommand &command) {
    auto client = TRY(Client::connect());
    const auto unit = session::unit_of(::getpid());
    if (!command.unit.empty())
        return suspend_all(client, command, TRY(units_like(command.unit)), unit);
    const auto own = own_session();
    const auto session = command.session.empty() ? TRY(Result<std::string>(own)) : command.session;
    const auto parts = TRY(parts_of(client, session));
    if (!command.json && parts != std::vector{session})
        fmt::print("Session {} is graphical; in its place: {}.\n", session, fmt::join(parts, ", "));
    return suspend_all(client, command, parts, unit.empty() ? own.value_or("") : unit);
}

} // namespace abey::ctl
