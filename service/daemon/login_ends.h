// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Logins that end while a session goes on that was attached to from them: what becomes of that one, as [attach] of the
// policy says. logind sends a signal only when a session is gone (SessionRemoved), which one with a process left behind
// never is; that it is closing stands in its file in /run (sd_login_monitor_new(3)).
#pragma once

#include "dbus/bus.h"
#include "engine/os/result.h"
#include "job/job.h"
#include "session/logind.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

struct sd_event_source;  // <systemd/sd-event.h>
struct sd_login_monitor; // <systemd/sd-login.h>

namespace abey::daemon {

class Manager;

// Which sessions have lost the last of their logins since the last look. What ended before the first look is not made
// up for. Pure.
class LastLogins {
  public:
    // `lists`: session -> logins that it was attached to from; `living`: all logins that there are.
    std::vector<std::string> lost(const std::map<std::string, std::vector<std::string>> &lists,
                                  std::set<std::string> living);

  private:
    std::set<std::string> living_;
};

class LoginEnds {
  public:
    LoginEnds(sd_bus *bus, Manager &manager) : bus_(bus), manager_(manager) {}
    LoginEnds(const LoginEnds &) = delete;
    LoginEnds &operator=(const LoginEnds &) = delete;
    ~LoginEnds() = default;

    Result<> start();
    void on_job_ended(const job::Job &job, bool ok);

  private:
    struct Unref {
        void operator()(sd_event_source *source) const;
        void operator()(sd_login_monitor *monitor) const;
    };

    void look();
    void on_last_login_ended(const std::string &id);
    void suspend(const session::Session &session);
    static int on_change(sd_event_source *source, int descriptor, uint32_t events, void *userdata);

    sd_bus *bus_;
    Manager &manager_;
    LastLogins last_;
    std::set<std::string> busy_; // sessions that are to be suspended when the job there has ended
    std::unique_ptr<sd_login_monitor, Unref> monitor_;
    std::unique_ptr<sd_event_source, Unref> changes_; // after the monitor, whose descriptor it watches
};

} // namespace abey::daemon
