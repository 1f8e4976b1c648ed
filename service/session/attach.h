// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The client side of a restored session's terminals: joins the user's present terminal to one of them.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/result.h"
#include "session/detach_key.h"
#include "session/terminal.h"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace abey::session {

// Ids of the restored sessions that `uid` may attach to (root: all), in the order of their ids. None: an empty list.
Result<std::vector<std::string>> attachable_sessions(uid_t uid, const std::string &directory = sockets_directory);

// The terminals of a restored session. An error when its keeper is not there (any more), refuses us, or does not answer
// within the time (EAGAIN), as one that still brings its session back.
Result<std::vector<TerminalEntry>> terminals_of(const std::string &session,
                                                const std::string &directory = sockets_directory,
                                                std::chrono::milliseconds limit = std::chrono::seconds(5));

// Whose session that is; ENOENT: there is none that could be attached to.
Result<uid_t> owner_of(const std::string &session, const std::string &directory = sockets_directory);

struct AttachRequest {
    std::string session;              // logind's id; must not be empty
    Fd connection;                    // to its keeper, by somebody who may (the service); else one is made
    uint32_t terminal = any_terminal; // N of /dev/pts/N
    bool watch = false;               // only look: nothing typed is sent, the terminal keeps its size and its user
    std::string detach_key{default_detach_key}; // as parse_detach_key() gives it
    std::string directory = sockets_directory;
    int input = 0; // descriptors of the user's terminal
    int output = 1;
};

// Joins the terminals until the user detaches (who only watches: by Ctrl-C as well), the session's terminal
// is closed, somebody attaches from elsewhere, or SIGTERM or SIGHUP comes; returns why, one line for people. The user's
// terminal is in raw mode meanwhile and is put back on every way out. Must be called from the main thread: SIGWINCH,
// SIGTERM and SIGHUP are blocked meanwhile.
Result<std::string> attach(const AttachRequest &request);

} // namespace abey::session
