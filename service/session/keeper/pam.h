// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <memory>
#include <string>
#include <vector>

struct pam_handle; // of pam_appl.h

namespace abey::session {

// A login session opened through PAM (pam(3)), as a login program opens it, for the calling process and what it starts
// from then on. Who the user is has been decided elsewhere: nobody is asked for a password, but accounts that may not
// log in (expired, pam_nologin) are refused. Closed when it goes.
class PamSession {
  public:
    // The stack is that of `service` (/etc/pam.d/SERVICE). Afterwards the caller is in a logind session of its own.
    static Result<PamSession> open(const std::string &service, const std::string &user);

    // What a module has put into the session's environment; empty: nothing.
    [[nodiscard]] std::string variable(const char *name) const;
    // All of it, "NAME=value".
    [[nodiscard]] std::vector<std::string> environment() const;

  private:
    struct Close {
        void operator()(pam_handle *pam) const;
    };
    explicit PamSession(pam_handle *pam) : pam_(pam) {}
    std::unique_ptr<pam_handle, Close> pam_;
};

} // namespace abey::session
