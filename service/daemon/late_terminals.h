// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Logins whose terminal comes after their session: sshd opens that through PAM before the client has asked for a
// terminal, if it asks for one at all (scp, rsync and git do not).
#pragma once

#include "dbus/bus.h"
#include "session/logind.h"

#include <functional>
#include <list>
#include <memory>
#include <span>
#include <string>

#include <systemd/sd-event.h>

namespace abey::daemon {

// Whether one more login of this user is waited for, when logins of these wait already: nobody takes all the places.
bool has_place(std::span<const uid_t> waiting, uid_t uid);
// Microseconds until the next look, after having waited this long: most terminals come at once, and what has not come
// by then is looked for less and less often. 0: no more.
uint64_t pause_after(uint64_t waited);

class LateTerminals {
  public:
    using Found = std::function<void(const session::Session &)>;

    // The bus is attached to the event loop; `logind` outlives this. `found` gets the session once it has a terminal.
    LateTerminals(sd_bus *bus, const session::Logind &logind, Found found)
        : bus_(bus), logind_(logind), found_(std::move(found)) {}
    LateTerminals(const LateTerminals &) = delete;
    LateTerminals &operator=(const LateTerminals &) = delete;
    ~LateTerminals() = default;

    // For some seconds; a session that ends meanwhile is forgotten.
    void wait_for(const session::Session &login);
    // What was to be done when it comes has been done.
    void forget(const std::string &login);

  private:
    struct Disable {
        void operator()(sd_event_source *source) const { ::sd_event_source_disable_unref(source); }
    };
    struct Waiting {
        LateTerminals *self = nullptr;
        std::string id;
        uid_t uid = 0;
        uint64_t waited = 0; // microseconds
        std::unique_ptr<sd_event_source, Disable> timer;
    };

    // False: it is not waited for any more.
    bool plan(Waiting &waiting);
    void forget(const Waiting &waiting);
    // The session with its terminal; one without: not yet; an error: it is over.
    [[nodiscard]] Result<session::Session> look(const std::string &id) const;
    static int on_time(sd_event_source *source, uint64_t time, void *userdata);

    sd_bus *bus_;
    const session::Logind &logind_;
    Found found_;
    std::list<Waiting> waiting_;
};

} // namespace abey::daemon
