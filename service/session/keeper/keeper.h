// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The keeper: stays with a restored session as a login program stays with a new one. It is the Leader of the logind
// session, the parent of the root processes, and holds the masters of the terminals.
#pragma once

#include "session/keeper/worker.h"
#include "session/pictures.h"
#include "session/terminal.h"

#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace abey::session {

struct Keep {
    uid_t uid = 0;
    std::string pam_service = "abeyance";
    std::string sockets = sockets_directory;
    std::string login; // for which it is done, when it is done for one
    // The session is there, with nobody in it. On error nothing is brought back.
    std::function<Result<>(const std::string &session)> opened;
    // What PAM gives to the environment of the session's programs ("NAME=value"); before the work. May be empty.
    std::function<void(std::vector<std::string> variables)> environment;
    Pictures pictures;       // what the terminals showed before the suspend, by their numbers then
    Work work;               // brings the processes back; runs in a child, within the new session
    ReportProgress progress; // how far that is
    // The session runs and can be attached to: whoever calls takes note of it. On error it is ended again.
    std::function<Result<>(const std::string &session, const resume::Report &)> ready;
    // A failure after that, which is tolerated: for a log.
    std::function<void(const Error &)> complain;
};

// Opens the session, has the work done in it, and returns when the last root process has ended, or, after SIGTERM, when
// the terminals have been hung up and the root processes have ended or had their time. On error there is no session and
// no process of it. Must be called from the main thread of a process that does nothing else: signals, children and
// the login session are the whole process's.
Result<> keep(const Keep &request);

} // namespace abey::session
