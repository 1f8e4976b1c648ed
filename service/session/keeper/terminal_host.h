// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The process that serves the terminals of a session. It is the keeper's child with the rights of the session's user
// and no more, because it reads what any program of the session writes, and what any client says.
#pragma once

#include "session/keeper/server.h"
#include "session/login_list.h"

#include <string>

#include <sys/types.h>

namespace abey::session {

class TerminalHost {
  public:
    // `owner` and `group`: whose rights it has. SIGTERM and SIGHUP, which the end of a login session brings to all its
    // processes (systemd.kill(5)), do not end it: it lasts as long as this, and ends at once when its parent does.
    static Result<TerminalHost> start(ListeningSocket socket, LoginList logins, uid_t owner, gid_t group);

    // An error when the process has gone.
    Result<> add(const Master &master);
    // See Server.
    void open();
    void process_ended(pid_t pid);
    // Closes all terminals and tells all clients; the process ends when they have taken what there was for them.
    void close(const std::string &why);

    // Readable when the process has ended.
    [[nodiscard]] const Fd &process() const { return process_; }

  private:
    TerminalHost(ListeningSocket socket, LoginList logins, Fd channel, Fd process)
        : socket_(std::move(socket)), logins_(std::move(logins)), channel_(std::move(channel)),
          process_(std::move(process)) {}
    ListeningSocket socket_; // of which the path is left
    LoginList logins_;       // the same
    Fd channel_;
    Fd process_; // pidfd
};

} // namespace abey::session
