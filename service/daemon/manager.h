// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What abeyd does, without the bus's glue (manager_bus.cpp, job_bus.cpp, checkpoint_bus.cpp): it decides who may have
// what done, starts a unit for it, follows that unit, and tells what came of it.
#pragma once

#include "daemon/answer.h"
#include "daemon/authority.h"
#include "daemon/checkpoints.h"
#include "daemon/clients.h"
#include "daemon/inhibitors.h"
#include "daemon/known_policy.h"
#include "daemon/late_terminals.h"
#include "daemon/login_ends.h"
#include "daemon/messenger.h"
#include "daemon/options.h"
#include "daemon/rate.h"
#include "daemon/retention.h"
#include "daemon/triggers.h"
#include "dbus/bus.h"
#include "job/job.h"
#include "session/logind.h"

#include <deque>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include <systemd/sd-event.h>

namespace abey::daemon {

class Manager;

// Shown on the bus as an object; the others are the work behind one call.
bool is_public(job::Kind kind);

// Do they work on the same thing?
bool excludes(const job::Job &one, const job::Job &other);

struct RunningJob;
// Is it canceled for a trigger's job on the same session? What a user waits for, and has begun, is not.
bool gives_way(const RunningJob &running, const job::Job &to);
// After that one was done well, what was wanted of this session needs no doing any more.
bool makes_up_for(const job::Job &done, const std::string &session, policy::Act wanted);
// By how long it took so far: microseconds, 0 when nobody can tell.
uint64_t time_left(const RunningJob &running);

// A job that waits, runs, or has just ended.
struct RunningJob {
    Manager *manager = nullptr;
    job::Job job;
    std::string unit;
    std::string phase = "waiting";
    uint32_t percent = 0;
    uint64_t begun = 0;         // microseconds of CLOCK_MONOTONIC
    std::string service_result; // systemd's word for how the worker ended: "success", "signal", ...
    bool started = false;
    bool canceled = false;
    std::string why_canceled; // "the time was too short"; empty: somebody called for it
    std::map<std::string, uint64_t> figures;
    std::string error;      // what it has failed with, as a name on the bus
    bus::Message request;   // check, remove: the call to answer at the end
    bus::Track disconnects; // suspend after the caller has left: that caller
    bus::Slot changes;
    // suspend: have applications been told; are they waited for
    bool told = false;
    struct Unref {
        void operator()(sd_event_source *source) const;
    };
    using Timer = std::unique_ptr<sd_event_source, Unref>;
    Timer delay;
    Timer look_again; // systemd did not say whether it works still
};

class Manager {
  public:
    // The bus is attached to the event loop.
    Manager(sd_bus *bus, session::Logind logind)
        : bus_(bus), logind_(std::move(logind)), clients_(bus), messenger_(::sd_bus_get_event(bus)), authority_(bus),
          inhibitors_(::sd_bus_get_event(bus)), triggers_(bus, *this), login_ends_(bus, *this),
          late_terminals_(bus, logind_, [this](const session::Session &login) { on_login(login); }) {}
    Manager(const Manager &) = delete;
    Manager &operator=(const Manager &) = delete;
    ~Manager() = default;

    // Puts the objects on the bus and takes up the jobs that a former daemon left. The name is the caller's business.
    Result<> start();

    Answer<session::Session> find_session(const std::string &id);
    // Whose it is: what polkit is asked about. Ids are of sessions, checkpoints and jobs.
    Answer<uid_t> owner_of_session(const std::string &id);
    static Answer<uid_t> owner_of_checkpoint(const std::string &id);
    Answer<uid_t> owner_of_job(uint32_t number) const;

    // What has been permitted. The request of check() and remove() is answered when the job has ended.
    Answer<uint32_t> suspend(const Permit &permit, const std::string &id, const SuspendOptions &options,
                             sd_bus_message *request);
    Answer<uint32_t> resume(const Permit &permit, const std::string &id, const ResumeOptions &options);
    // What a login has by itself ([resume] of the policy), for one that does not wait for its terminal to be seen.
    struct LoginResume {
        std::string checkpoint; // empty: nothing
        uint32_t job = 0;       // that brings it back, perhaps begun before
    };
    Answer<LoginResume> resume_on_login(const Permit &permit, const std::string &login_id);
    // Starts a command, or login shell, of the permit's owner in a session of its own (job::Job says of what).
    Answer<uint32_t> run(const Permit &permit, job::Job wanted);
    // A connection to the keeper of a session that was resumed or run.
    Answer<Fd> attach(const Permit &permit, const std::string &id);
    // Ids of what is suspended when somebody wants the session suspended: mostly its own (session/parts.h).
    Answer<std::vector<std::string>> parts(const Permit &permit, const std::string &id);
    Answer<> check(const Permit &permit, const std::string &id, sd_bus_message *request, const char *question = "");
    Answer<> diff(const Permit &permit, const std::string &id, sd_bus_message *request);
    // Of all checkpoints of the caller's; root's: of everybody's.
    Answer<> measure(const Permit &permit, sd_bus_message *request);
    Answer<> remove(const Permit &permit, const std::string &id, sd_bus_message *request);
    // The reason, if any, is for whoever waits for the job.
    Answer<> cancel(const Permit &permit, uint32_t number, std::string_view why = "");
    // Suspends of the session (empty: of all the caller's, root: of everybody's) wait for the descriptor to be closed.
    Answer<Fd> inhibit(uid_t caller, const std::string &session, const std::string &who, const std::string &why);
    Answer<> set_pinned(const Permit &permit, const std::string &id, bool pinned);
    // Removes what retention says, of one user or of all; tells what. The removals go on afterwards.
    Answer<std::vector<Pruned>> prune(std::optional<uid_t> of, const PruneOptions &options);
    Answer<> reload_policy();
    // One that has come into the store without us.
    Answer<> announce_checkpoint(const std::string &id);
    // Asked for by nobody: a trigger's job on a session.
    Answer<uint32_t> act_on(const session::Session &session, policy::Act act, const char *trigger);
    // When that was answered with "busy": cancels those of the jobs at work there that give way. Triggers and LoginEnds
    // are told of their end, when it is time to try again.
    void make_way(const session::Session &session, policy::Act act, const char *trigger);
    void tell(const std::string &tty, uid_t uid, const std::string &text) {
        if (!tty.empty())
            messenger_.tell(tty, uid, text);
    }
    [[nodiscard]] bool is_busy() const;
    [[nodiscard]] Answer<std::vector<Checkpoint>> visible_checkpoints(uid_t caller) const;
    // The checkpoint that this call is about: read once for all of its properties. Null: there is none. Until the next.
    const Checkpoint *asked_for(sd_bus_message *message, const std::string &id);
    KnownPolicy &policy() { return policy_; }
    static Answer<std::vector<DisplacedHome>> visible_displaced_homes(uid_t caller);
    [[nodiscard]] std::vector<const RunningJob *> visible_jobs(uid_t caller) const;
    [[nodiscard]] RunningJob *find_job(uint32_t number);

    // A user has logged in: resumes what waits for them, when the policy says so.
    void on_login(const session::Session &login);

    Clients &clients() { return clients_; }
    Authority &authority() { return authority_; }
    const session::Logind &logind() { return logind_; }

  private:
    // A user has one at a time (excludes()).
    [[nodiscard]] const RunningJob *resume_of(uid_t uid) const;
    Answer<const RunningJob *> start_resume(const session::Session &login, const Checkpoint &checkpoint,
                                            const std::string &tty);
    // The session or checkpoint, when it exists (and still is the one that was permitted).
    static Answer<Checkpoint> find_checkpoint(const std::string &id);
    Answer<session::Session> permitted_session(const Permit &permit, const std::string &id);
    static Answer<Checkpoint> permitted_checkpoint(const Permit &permit, const std::string &id);
    // Is there room for one more job, on things that no other works on?
    Answer<> admit(uid_t caller, const job::Job &job);

    // manager_jobs.cpp
    Answer<RunningJob *> make_job(job::Job job, sd_bus_message *request);
    // On an error the job is gone.
    Answer<> start_job(RunningJob &running);
    Answer<> start_after_disconnect(RunningJob &running, sd_bus_message *request);
    Result<> watch(RunningJob &running);
    void announce(RunningJob &running);
    Answer<> cancel(RunningJob &running, std::string_view why);
    RunningJob::Timer timer(RunningJob &running, uint64_t after, sd_event_time_handler_t handler);
    static int on_cancel_unheard(sd_event_source *source, uint64_t time, void *userdata);
    void adopt_jobs();
    // Asks systemd whether the unit still works; ends the job when it does not.
    void look_after(RunningJob &running);
    static int on_look_again(sd_event_source *source, uint64_t time, void *userdata);
    void finish(RunningJob &running);
    // Tells everybody, and forgets the job: `running` is gone afterwards.
    void end_job(RunningJob &running, const job::Outcome &outcome, const char *result);
    void on_status(RunningJob &running, std::string_view status);
    void tell_user(const job::Job &job, const job::Outcome &outcome);
    static int on_systemd_job_removed(sd_bus_message *message, void *userdata, sd_bus_error *error);
    static int on_unit_changed(sd_bus_message *message, void *userdata, sd_bus_error *error);
    static int on_caller_left(sd_bus_track *track, void *userdata);

    // removals.cpp
    // What a crash of the machine left, and no job is at.
    void remove_leftovers();
    // A checkpoint, or a displaced home by the name of its record: when there is room for it, and unless a job of its
    // own is at it.
    void remove_unasked(uid_t uid, const std::string &checkpoint, const std::string &displaced = "");
    void go_on_removing();

    // preparing.cpp
    void tell_applications(const RunningJob &running, bool begins) const;
    // Tells applications of a suspend. Those that want to be waited for are: launch() comes later then.
    bool is_held_up(RunningJob &running);
    // When starting fails, the job has ended and is gone.
    void launch(RunningJob &running);
    void on_inhibitor_released();
    static int on_delay_over(sd_event_source *source, uint64_t time, void *userdata);

    // The glue: *_bus.cpp
    Result<> export_manager();
    Result<> export_jobs();
    Result<> export_checkpoints();
    // org.freedesktop.DBus.ObjectManager and .Properties, sent to those only who may know.
    void tell_that_added(const std::string &id, uid_t owner) const;
    void tell_of_checkpoint(const std::string &id, uid_t owner) const;
    void tell_of_no_checkpoint(const std::string &id, uid_t owner) const;
    void tell_of_change(const std::string &id, uid_t owner, std::initializer_list<const char *> changed) const;
    void emit_busy() const;
    Result<> watch_logins();
    static void answer_request(RunningJob &running, const job::Outcome &outcome);
    void emit_job_changed(const RunningJob &running, std::initializer_list<const char *> properties) const;
    static int on_session_new(sd_bus_message *message, void *userdata, sd_bus_error *error);

    sd_bus *bus_;
    session::Logind logind_;
    Clients clients_;
    Messenger messenger_;
    Authority authority_;
    Inhibitors inhibitors_;
    Triggers triggers_;
    LoginEnds login_ends_;
    LateTerminals late_terminals_;
    Rate rate_;
    Rate measures_; // of looking at homes, which is to cost nobody a suspend
    KnownPolicy policy_;
    mutable Sizes sizes_; // known already, not part of what we are
    struct {
        bus::Message message;
        std::string id;
        std::optional<Checkpoint> found;
    } asked_;
    std::map<uint32_t, std::unique_ptr<RunningJob>> jobs_;
    std::deque<job::Job> removals_; // that wait
    std::vector<bus::Slot> slots_;
};

} // namespace abey::daemon
