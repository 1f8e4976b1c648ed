// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/attach.h"

#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/joining.h"
#include "ctl/terminals.h"

#include <unistd.h>

namespace abey::ctl {
namespace {

Result<std::string> only_session() {
    const auto sessions = TRY(session::attachable_sessions(::getuid()));
    if (sessions.empty())
        return fail(0, "there is no session to attach to; `abeyctl list` shows what waits, `abeyctl run` starts one");
    if (sessions.size() == 1)
        return sessions.front();
    std::string listed;
    for (const auto &id : sessions)
        listed += (listed.empty() ? "" : ", ") + id;
    return fail(0, "{} sessions could be meant ({}); name one, `abeyctl attach --list` tells more", sessions.size(),
                listed);
}

// Somebody else's session is opened by the service, which asks polkit; one's own without it.
Result<Fd> connection_to(const std::string &session) {
    const auto owner = session::owner_of(session);
    if (!owner || *owner == ::getuid())
        return Fd(); // what is wrong is told by who attaches
    auto client = TRY(Client::connect());
    return client.attach_session(session);
}

} // namespace

Result<int> attach(const AttachCommand &command) {
    if (command.json || command.list)
        return list_terminals(command);
    TRY(check_terminal());
    session::AttachRequest request;
    request.session = command.session.empty() ? TRY(only_session()) : command.session;
    if (command.terminal)
        request.terminal = *command.terminal;
    request.watch = command.watch;
    request.detach_key = TRY(detach_key_of(command.detach_key));
    request.connection = TRY(connection_to(request.session));
    const auto why = TRY(session::attach(request));
    fmt::print("abeyctl: {}\n", why);
    return 0;
}

} // namespace abey::ctl
