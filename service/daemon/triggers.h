// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the daemon does without being asked, as the policy's [triggers] says: before the machine sleeps or goes down, at
// a lock, after idleness. Signals may come twice, late or never; none of that does harm.
#pragma once

#include "daemon/battery.h"
#include "daemon/preparation.h"
#include "dbus/bus.h"
#include "engine/os/fd.h"
#include "job/job.h"
#include "policy/policy.h"
#include "session/logind.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

struct sd_event_source; // <systemd/sd-event.h>

namespace abey::daemon {

class Manager;

class Triggers {
  public:
    Triggers(sd_bus *bus, Manager &manager);
    Triggers(const Triggers &) = delete;
    Triggers &operator=(const Triggers &) = delete;
    ~Triggers() = default;

    Result<> start();
    void on_job_ended(const job::Job &job, bool ok);
    // What was planned by the former one is planned anew.
    void on_policy_read() { plan_next_look(1); }
    // Microseconds that a job of this trigger may wait for applications, of the time that there is for all.
    [[nodiscard]] uint64_t most_delay(const std::string &trigger) const;

  private:
    struct Unref {
        void operator()(sd_event_source *source) const;
    };
    using Source = std::unique_ptr<sd_event_source, Unref>;

    // A session, and what the policy wants done with it.
    struct Planned {
        session::Session session;
        policy::Act act = policy::Act::nothing;
        bool was_busy = false; // another job was at work there when it was its turn
    };

    // A delay inhibitor (systemd.io/INHIBITOR_LOCKS), and what is done while it is held.
    struct Hold {
        Triggers *triggers = nullptr;
        const char *what = ""; // "sleep", "shutdown": for logind, and the trigger's name
        policy::Act policy::Triggers::*act = nullptr;
        Fd lock;
        bus::Slot asking, signal;
        Preparation state;
        std::deque<Planned> rest;
        std::deque<Planned> busy; // tried again when any job has ended
        std::map<uint32_t, policy::Act> jobs;
        uint64_t begun = 0;  // as is the end
        uint64_t budget = 0; // microseconds
        uint64_t end = 0;    // microseconds of CLOCK_BOOTTIME
        Source limit;
    };

    static void take(Hold &hold);
    Result<> watch(Hold &hold, const char *signal);
    void begin(Hold &hold);
    Result<> prepare(Hold &hold);
    void go_on(Hold &hold);
    void act_on(Hold &hold, Planned planned);
    // The one to be begun now; the end of the rest: none.
    [[nodiscard]] std::deque<Planned>::iterator next_of(Hold &hold) const;
    void finish(Hold &hold);
    void on_over(Hold &hold);
    void leave_alone(Hold &hold);
    static void wait_no_longer(std::deque<Planned> &busy, std::deque<Planned> &rest, const job::Job &ended, bool ok);
    // With those only of which something is wanted.
    [[nodiscard]] std::deque<Planned> plan(const policy::Policy &policy, policy::Act policy::Triggers::*act) const;

    // What an event acts on when it is about a session; none: the journal has been told why.
    [[nodiscard]] std::vector<session::Session> parts_of(const session::Session &session,
                                                         const policy::Policy &policy) const;
    void on_lock(const std::string &session);
    void on_battery_low();
    void go_on_for_battery();
    void look_for_idleness();
    void plan_next_look(uint64_t seconds);
    // Since when, microseconds of CLOCK_REALTIME, it has been idle; nothing: it is not, or has not been for `seconds`.
    [[nodiscard]] std::optional<uint64_t> idle_since(const session::Session &session, uint64_t seconds) const;
    // False: another job is at work there.
    bool act_on(const session::Session &session, policy::Act act, const char *trigger);

    static int on_prepare(sd_bus_message *message, void *userdata, sd_bus_error *error);
    static int on_taken(sd_bus_message *message, void *userdata, sd_bus_error *error);
    static int on_lock_signal(sd_bus_message *message, void *userdata, sd_bus_error *error);
    static int on_limit(sd_event_source *source, uint64_t time, void *userdata);
    static int on_look(sd_event_source *source, uint64_t time, void *userdata);

    sd_bus *bus_;
    Manager &manager_;
    Hold sleep_, shutdown_;
    bus::Slot locks_;
    Battery battery_;
    std::deque<Planned> battery_rest_, battery_busy_;
    std::set<uint32_t> battery_jobs_;
    Source look_;
    std::map<std::string, uint64_t> locked_;   // session -> when it was last acted on, microseconds of CLOCK_BOOTTIME
    std::map<std::string, uint64_t> acted_on_; // session -> the idleness that was acted on
};

} // namespace abey::daemon
