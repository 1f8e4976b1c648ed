// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Whom and what a policy is asked about: [[user]] and [[session]] sections are chosen by it.
#pragma once

#include "engine/os/result.h"

#include <string>
#include <vector>

#include <sys/types.h>

namespace abey::policy {

struct Subject {
    std::string user;                // login name
    std::vector<std::string> groups; // names, the primary one too
    bool is_session = false;         // otherwise only the user is asked about
    std::string service;             // PAM service: "sshd", "login", "abeyance", ...
    std::string tty;                 // without "/dev/"; empty: none
    std::string unit;                // "tmux-1.scope" of the user's manager; empty: a login session
};

// The user as the user database knows it (engine/os/user.h); one that it does not know has its number for a name, and
// so has a group. An error: it cannot be asked, and so nobody knows which sections hold.
Result<Subject> subject_of(uid_t uid);

// The same, and one of that user's sessions. `session` is its id: logind's, or UID/UNIT.
Result<Subject> subject_of(uid_t uid, const std::string &session, const std::string &service, const std::string &tty);

} // namespace abey::policy
