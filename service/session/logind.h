// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What systemd-logind knows of login sessions (org.freedesktop.login1(5)), and where their processes are.
#pragma once

#include "engine/os/cgroup.h"
#include "engine/os/result.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

struct sd_bus; // of sd-bus.h

namespace abey::session {

// One login session. Strings are empty when logind has nothing to say.
struct Session {
    std::string id;     // "3", "c1"
    uid_t uid = 0;      //
    std::string user;   // login name
    pid_t leader = 0;   // the process that opened the session through PAM; may be gone
    std::string scope;  // "session-3.scope"
    std::string cgroup; // absolute directory of the scope in the cgroup v2 hierarchy; empty when it has none (any more)
    std::string tty;    // without "/dev/": "tty1", "pts/0"
    std::string type;   // "tty", "x11", "wayland", "unspecified", ...
    std::string klass;  // "user", "user-early", "greeter", "lock-screen", "background", "manager", ...
    std::string service; // PAM service: "login", "sshd", "abeyance", ...
    std::string state;   // "online", "active", "closing"
    std::string seat;    // "seat0"
};

// Whether it draws on a display server, which programs could not be joined to again.
bool is_graphical(const Session &session);
// Whether a user works in it: pam_systemd(8) has more than one class of such since systemd 256 (root's are
// "user-early").
bool is_of_a_user(const Session &session);
// Whether it is such a one, and is not ending.
bool is_suitable(const Session &session);

// A connection to the system bus, and the questions that we have. Calls block, for at most the bus's time limit of 25
// s. Errors name the session or user; ENXIO: there is no such session.
class Logind {
  public:
    // A connection of its own. The bus hangs up on one that says nothing at first (dbus-daemon(1), auth_timeout), so
    // this one is for callers who ask at once.
    static Result<Logind> connect();
    // Over a connection that the caller serves in an event loop.
    static Logind over(sd_bus *bus);

    [[nodiscard]] Result<Session> session(const std::string &id) const;
    // The session that a process is in; ENXIO when it is in none.
    [[nodiscard]] Result<Session> session_of(pid_t pid) const;
    // Sessions of a user, of all users; those that end while we ask are left out.
    [[nodiscard]] Result<std::vector<Session>> sessions_of(uid_t uid) const;
    [[nodiscard]] Result<std::vector<Session>> sessions() const;
    // Ends the session as `loginctl terminate-session` does: every process of its scope is killed, the frontend too.
    // Returns when logind has taken the order, not when all is gone.
    [[nodiscard]] Result<> terminate(const std::string &id) const;

  private:
    struct Unref {
        bool shared = false; // the caller's, who will close it
        void operator()(sd_bus *bus) const;
    };
    explicit Logind(sd_bus *bus, bool shared) : bus_(bus, Unref{shared}) {}
    [[nodiscard]] Result<Session> session_at(const std::string &path, const std::string &id) const;
    [[nodiscard]] Result<std::string> control_group(const std::string &unit) const;

    std::unique_ptr<sd_bus, Unref> bus_;
};

using os::cgroup_directory;

} // namespace abey::session
