// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/job_watch.h"
#include "ctl/join.h"
#include "ctl/joining.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <unistd.h>

namespace abey::ctl {
namespace {

// Belong to the login that we are in, or to its connection, and end with it; PAM gives the new session its own.
constexpr std::array<std::string_view, 17> of_this_login{
    "XDG_SESSION_ID", "XDG_SESSION_TYPE", "XDG_SESSION_CLASS", "XDG_SESSION_DESKTOP",
    "XDG_SEAT",       "XDG_VTNR",         "XDG_RUNTIME_DIR",   "DBUS_SESSION_BUS_ADDRESS",
    "SSH_CONNECTION", "SSH_CLIENT",       "SSH_TTY",           "SSH_AUTH_SOCK",
    "DISPLAY",        "WAYLAND_DISPLAY",  "XAUTHORITY",        "GPG_TTY",
    "ABEYANCE_RUN"};

std::vector<std::string> environment_for_it() {
    std::vector<std::string> variables;
    for (char **each = ::environ; each != nullptr && *each != nullptr; ++each) {
        const std::string_view variable(*each);
        const auto name = variable.substr(0, variable.find('='));
        // D-Bus carries UTF-8 only: what is none is not taken along
        if (!name.empty() && name.size() != variable.size() && bus::is_utf8(variable) &&
            std::ranges::find(of_this_login, name) == of_this_login.end())
            variables.emplace_back(variable);
    }
    return variables;
}

Result<std::string> start(const RunCommand &command) {
    for (const auto &word : command.command)
        if (!bus::is_utf8(word))
            return fail(EILSEQ, "the command is not UTF-8, which the bus cannot carry; put it into a script");
    RunRequest request{
        .command = command.command, .environment = environment_for_it(), .directory = {}, .rows = 0, .columns = 0};
    std::error_code code;
    if (const auto here = std::filesystem::current_path(code); !code && bus::is_utf8(here.string()))
        request.directory = here.string();
    winsize size = {};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
        request.rows = size.ws_row;
        request.columns = size.ws_col;
    }
    auto client = TRY(Client::connect());
    const auto end = TRY(run_job(client, "run", false, [&] { return client.run_session(request); }));
    if (end.result != "done")
        return fail(0, "the session was not started: {}", end.message);
    return end.session;
}

} // namespace

Result<int> run(const RunCommand &command) {
    const bool stay_away = command.detach || command.json;
    if (const auto terminal = check_terminal(); !stay_away && !terminal)
        return fail(0, "{}; or --detach", terminal.error().message());
    TRY(detach_key_of(command.detach_key)); // of a session that has begun nobody would know
    std::string session;
    if (command.join)
        session = TRY(session_to_join());
    if (session.empty())
        session = TRY(start(command));
    if (!stay_away)
        return attach({.session = session, .detach_key = command.detach_key});
    if (command.json)
        print_json({{"session", session}});
    else
        fmt::print("Session {} runs; to join it: abeyctl attach {}\n", session, session);
    return 0;
}

} // namespace abey::ctl
