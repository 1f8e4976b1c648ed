// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/pam.h"

#include <cstdlib>
#include <vector>

#include <security/pam_appl.h>

namespace abey::session {
namespace {

// There is nobody to answer; what modules have to say is for a person at a terminal, who is not there.
int no_conversation(int /*count*/, const pam_message ** /*messages*/, pam_response ** /*responses*/, void * /*data*/) {
    return PAM_CONV_ERR;
}

constexpr pam_conv conversation = {.conv = no_conversation, .appdata_ptr = nullptr};

} // namespace

void PamSession::Close::operator()(pam_handle_t *pam) const {
    pam_close_session(pam, PAM_SILENT);
    const int r = pam_setcred(pam, PAM_DELETE_CRED | PAM_SILENT);
    pam_end(pam, r);
}

Result<PamSession> PamSession::open(const std::string &service, const std::string &user) {
    pam_handle_t *pam = nullptr;
    int r = pam_start(service.c_str(), user.c_str(), &conversation, &pam);
    if (r != PAM_SUCCESS)
        return fail(0, "user {}: cannot start PAM for the service {}: {}", user, service, pam_strerror(nullptr, r));
    const auto refused = [&](std::string_view what) {
        const std::string reason = pam_strerror(pam, r);
        pam_end(pam, r);
        return fail(0, "user {}: {} (/etc/pam.d/{}): {}", user, what, service, reason);
    };
    // pam_systemd(8): without a terminal of its own (it comes with the restored processes) the session must be told
    // what it is.
    for (const char *setting : {"XDG_SESSION_TYPE=tty", "XDG_SESSION_CLASS=user"}) {
        if ((r = pam_putenv(pam, setting)) != PAM_SUCCESS)
            return refused("PAM takes no environment");
    }
    if ((r = pam_acct_mgmt(pam, PAM_SILENT)) != PAM_SUCCESS)
        return refused("the account may not log in");
    if ((r = pam_setcred(pam, PAM_ESTABLISH_CRED | PAM_SILENT)) != PAM_SUCCESS)
        return refused("PAM gives no credentials");
    if ((r = pam_open_session(pam, PAM_SILENT)) != PAM_SUCCESS) {
        const int opened = r;
        pam_setcred(pam, PAM_DELETE_CRED | PAM_SILENT);
        r = opened;
        return refused("PAM opens no session");
    }
    return PamSession(pam);
}

std::string PamSession::variable(const char *name) const {
    const char *value = pam_getenv(pam_.get(), name);
    return value == nullptr ? "" : value;
}

std::vector<std::string> PamSession::environment() const {
    std::vector<std::string> variables;
    char **list = pam_getenvlist(pam_.get());
    for (char **each = list; each != nullptr && *each != nullptr; ++each) {
        variables.emplace_back(*each);
        std::free(*each);
    }
    std::free(static_cast<void *>(list));
    return variables;
}

} // namespace abey::session
