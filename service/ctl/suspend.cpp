// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/job_watch.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

// This process belongs to the session that is to stand still: it must be gone, and its connection to the bus with it,
// before the session is looked at. The daemon waits for that; how it ended is told on the terminal.
Result<int> suspend_from_within(Client &client, const std::string &session, CallOptions options, bool json) {
    options["after-disconnect"] = "";
    const auto job = TRY(client.suspend_session(session, options));
    const auto checkpoint =
        TRY(bus::string_property(client.bus(), bus::service_name, job, bus::job_interface, "Checkpoint"));
    if (json)
        print_json({{"ok", true}, {"result", "started"}, {"session", session}, {"checkpoint", checkpoint}});
    else
        fmt::print("Session {} is being suspended as checkpoint {}.\n", session, checkpoint);
    return 0;
}

} // namespace

Result<int> suspend(const SuspendCommand &command) {
    const auto own = own_session();
    const auto session = command.session.empty() ? TRY(Result<std::string>(own)) : command.session;
    auto client = TRY(Client::connect());
    CallOptions options;
    if (command.keep_running)
        options["keep-running"] = "";
    if (own && *own == session)
        return suspend_from_within(client, session, options, command.json);

    const auto end =
        TRY(run_job(client, "suspend", !command.json, [&] { return client.suspend_session(session, options); }));
    if (end.result != "done")
        return fail(0, "session {} was not suspended: {}", session, end.message);
    if (command.json) {
        print_json(to_json(end));
    } else {
        fmt::print("Session {} is suspended as checkpoint {}{}.\n", session, end.checkpoint,
                   command.keep_running ? ", and runs on" : "");
        if (const auto line = figures_line(end.figures); !line.empty())
            fmt::print("{}\n", line);
        if (!end.message.empty())
            fmt::print("{}\n", end.message);
    }
    return 0;
}

} // namespace abey::ctl
