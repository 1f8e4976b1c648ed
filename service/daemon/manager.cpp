// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Who may have what done. How it is done: manager_jobs.cpp.
#include "daemon/manager.h"

#include "daemon/log.h"
#include "daemon/logins.h"
#include "dbus/names.h"
#include "engine/os/date.h"
#include "policy/policy.h"
#include "session/connection.h"
#include "session/parts.h"
#include "session/session_policy.h"
#include "session/terminal.h"
#include "session/user_unit.h"

#include <algorithm>
#include <ctime>
#include <set>

namespace abey::daemon {
namespace {

constexpr size_t job_limit = 64;
constexpr size_t user_job_limit = 4;
constexpr size_t user_session_limit = 64;

constexpr uint64_t measures_per_minute = 10;

bool is_measure(const job::Job &job) { return job.question == "measure"; }

std::unexpected<Refusal> failed(const Error &error) { return refuse_for(error); }

// Work on the home of a user, which a roll-back must have for itself.
bool touches_home(job::Kind kind) { return kind == job::Kind::suspend || kind == job::Kind::resume; }

} // namespace

bool excludes(const job::Job &one, const job::Job &other) {
    if (!one.session.empty() && one.session == other.session)
        return true;
    if (!one.checkpoint.empty() && one.checkpoint == other.checkpoint)
        return true;
    if (!one.displaced.empty() && one.displaced == other.displaced)
        return true;
    const bool rolls_back = one.kind == job::Kind::resume || other.kind == job::Kind::resume;
    return one.uid == other.uid && rolls_back && touches_home(one.kind) && touches_home(other.kind);
}

Answer<session::Session> Manager::find_session(const std::string &id) {
    const bool unit = session::is_unit_id(id);
    if (!unit && !bus::is_session_id(id))
        return refuse(bus::error::invalid_argument, "not the id of a session: \"{}\"", bus::shortened(id));
    auto session = unit ? session::user_unit(id) : logind_.session(id);
    if (!session && session.error().code() == ENXIO)
        return unit ? refuse(bus::error::no_such_session, "{}", session.error().message())
                    : refuse(bus::error::no_such_session, "there is no session {}", id);
    if (!session)
        return failed(session.error());
    return std::move(*session);
}

Answer<Checkpoint> Manager::find_checkpoint(const std::string &id) {
    if (!bus::is_checkpoint_id(id))
        return refuse(bus::error::invalid_argument, "not the id of a checkpoint: \"{}\"", bus::shortened(id));
    auto found = checkpoint(id);
    if (!found)
        return found.error().code() == ENOENT ? refuse(bus::error::no_such_checkpoint, "there is no checkpoint {}", id)
                                              : failed(found.error());
    return std::move(*found);
}

Answer<uid_t> Manager::owner_of_session(const std::string &id) { return TRY(find_session(id)).uid; }

Answer<uid_t> Manager::owner_of_checkpoint(const std::string &id) { return TRY(find_checkpoint(id)).uid; }

Answer<uid_t> Manager::owner_of_job(uint32_t number) const {
    const auto found = jobs_.find(number);
    if (found == jobs_.end() || !is_public(found->second->job.kind))
        return refuse(bus::error::no_such_job, "there is no job {}", number);
    return found->second->job.uid;
}

// While a password was typed the id may have gone to somebody else.
Answer<session::Session> Manager::permitted_session(const Permit &permit, const std::string &id) {
    auto session = TRY(find_session(id));
    if (permit.caller != 0 && session.uid != permit.owner)
        return refuse(bus::error::access_denied, "session {} is another one by now", id);
    return session;
}

Answer<Checkpoint> Manager::permitted_checkpoint(const Permit &permit, const std::string &id) {
    auto found = TRY(find_checkpoint(id));
    if (permit.caller != 0 && found.uid != permit.owner)
        return refuse(bus::error::access_denied, "checkpoint {} is another one by now", id);
    return found;
}

Answer<> Manager::admit(uid_t caller, const job::Job &job) {
    size_t own = 0;
    for (const auto &[number, running] : jobs_) {
        if (excludes(job, running->job))
            return refuse(bus::error::busy, "job {} ({}) is at work there; wait for it, or cancel it", number,
                          job::name_of(running->job.kind));
        if (running->job.uid == job.uid && is_measure(running->job) == is_measure(job))
            own++;
    }
    if (jobs_.size() >= job_limit || (caller != 0 && own >= (is_measure(job) ? 1 : user_job_limit)))
        return refuse(bus::error::too_many_jobs, "{} jobs are at work already; wait for one of them", jobs_.size());
    if (caller == 0)
        return {};
    if (is_measure(job))
        return measures_.take(caller, measures_per_minute, os::microseconds_of(CLOCK_MONOTONIC))
                   ? Answer<>()
                   : refuse(bus::error::too_many_jobs, "saved homes are looked at {} times a minute at the most",
                            measures_per_minute);
    // A policy with a mistake in it is the worker's to tell; but nobody has more than a section allows because nobody
    // knows whom it is for.
    auto allowed = policy::UserLimits().jobs_per_minute;
    if (const auto policy = policy::Policy::load_system()) {
        const auto theirs = policy->of(caller);
        if (!theirs)
            return failed(theirs.error());
        allowed = theirs->service().user_limits.jobs_per_minute;
    }
    if (!rate_.take(caller, allowed, os::microseconds_of(CLOCK_MONOTONIC)))
        return refuse(bus::error::too_many_jobs, "no user may start more than {} jobs a minute: wait a while", allowed);
    return {};
}

Answer<uint32_t> Manager::suspend(const Permit &permit, const std::string &id, const SuspendOptions &options,
                                  sd_bus_message *request) {
    const auto session = TRY(permitted_session(permit, id));
    if (!session::is_of_a_user(session))
        return refuse(bus::error::not_suspendable,
                      "session {} is of class \"{}\": only sessions of users can be suspended", id,
                      bus::printable(session.klass));
    if (session.state == "closing" || session.cgroup.empty())
        return refuse(bus::error::not_suspendable, "session {} is ending already", id);
    auto checkpoint_id = new_checkpoint_id(id);
    if (!checkpoint_id)
        return failed(checkpoint_id.error());
    job::Job job{.kind = job::Kind::suspend,
                 .uid = session.uid,
                 .session = id,
                 .checkpoint = std::move(*checkpoint_id),
                 .keep_running = options.keep_running,
                 .tty = options.after_disconnect ? session.tty : "",
                 .automatic = !options.trigger.empty(),
                 .trigger = options.trigger};
    TRY(admit(permit.caller, job));
    auto *running = TRY(make_job(std::move(job), nullptr));
    if (options.after_disconnect)
        TRY(start_after_disconnect(*running, request));
    else
        TRY(start_job(*running));
    return running->job.number;
}

Answer<std::vector<std::string>> Manager::parts(const Permit &permit, const std::string &id) {
    const auto session = TRY(permitted_session(permit, id));
    const auto policy = session::policy_for(session);
    if (!policy)
        return failed(policy.error());
    const auto parts = session::parts_of(logind_, session, policy->service().graphical);
    if (!parts)
        return failed(parts.error());
    if (parts->empty())
        return refuse(bus::error::not_suspendable,
                      "session {} is graphical, and of what [graphical] in the policy takes in its place nothing runs",
                      id);
    std::vector<std::string> ids;
    std::ranges::transform(*parts, std::back_inserter(ids), &session::Session::id);
    return ids;
}

Answer<uint32_t> Manager::resume(const Permit &permit, const std::string &id, const ResumeOptions &options) {
    const auto checkpoint = TRY(permitted_checkpoint(permit, id));
    if (checkpoint.state != "waiting")
        return refuse(bus::error::failed, "checkpoint {} is {}: it does not wait to be resumed", id, checkpoint.state);
    job::Job job{.kind = job::Kind::resume,
                 .uid = checkpoint.uid,
                 .checkpoint = id,
                 .pids = options.pids,
                 .on_divergence = options.on_divergence};
    TRY(admit(permit.caller, job));
    auto *running = TRY(make_job(std::move(job), nullptr));
    TRY(start_job(*running));
    return running->job.number;
}

Answer<uint32_t> Manager::run(const Permit &permit, job::Job wanted) {
    const auto sessions = logind_.sessions_of(permit.owner);
    if (!sessions)
        return failed(sessions.error());
    // logind serves so many sessions and no more: nobody may take them all
    if (permit.caller != 0 && sessions->size() >= user_session_limit)
        return refuse(bus::error::too_many_jobs, "user {} has {} sessions already: end one of them", permit.owner,
                      user_session_limit);
    wanted.kind = job::Kind::run;
    wanted.uid = permit.owner;
    TRY(admit(permit.caller, wanted));
    auto *running = TRY(make_job(std::move(wanted), nullptr));
    const auto number = running->job.number;
    TRY(start_job(*running));
    return number;
}

Answer<Fd> Manager::attach(const Permit &permit, const std::string &id) {
    const auto session = TRY(permitted_session(permit, id));
    auto connection = [&]() -> Result<Fd> {
        return session::connect_at_once(TRY(session::socket_path(session::sockets_directory, id)));
    }();
    if (!connection && session::is_nobodys(connection.error().code()))
        return refuse(bus::error::failed,
                      "session {} was neither resumed nor begun by `abeyctl run`: it cannot be attached to", id);
    if (!connection && connection.error().code() == EAGAIN)
        return refuse(bus::error::busy, "session {}: its keeper takes no connections just now; try again", id);
    if (!connection)
        return failed(connection.error());
    if (permit.caller != session.uid)
        log_info("session {} of {}: user {} is let in to its terminals", id, session.user, permit.caller);
    return std::move(*connection);
}

Answer<> Manager::check(const Permit &permit, const std::string &id, sd_bus_message *request, const char *question) {
    const auto session = TRY(permitted_session(permit, id));
    job::Job job{.kind = job::Kind::check, .uid = session.uid, .session = id, .question = question};
    TRY(admit(permit.caller, job));
    return start_job(*TRY(make_job(std::move(job), request)));
}

Answer<> Manager::diff(const Permit &permit, const std::string &id, sd_bus_message *request) {
    const auto checkpoint = TRY(permitted_checkpoint(permit, id));
    job::Job job{.kind = job::Kind::check, .uid = checkpoint.uid, .checkpoint = id, .question = "diff"};
    TRY(admit(permit.caller, job));
    return start_job(*TRY(make_job(std::move(job), request)));
}

Answer<> Manager::measure(const Permit &permit, sd_bus_message *request) {
    job::Job job{.kind = job::Kind::check, .uid = permit.caller, .question = "measure"};
    TRY(admit(permit.caller, job));
    return start_job(*TRY(make_job(std::move(job), request)));
}

Answer<> Manager::remove(const Permit &permit, const std::string &id, sd_bus_message *request) {
    const auto checkpoint = TRY(permitted_checkpoint(permit, id));
    if (checkpoint.pinned)
        return refuse(bus::error::pinned, "checkpoint {} is pinned: abeyctl pin --off {}", id, id);
    job::Job job{.kind = job::Kind::remove, .uid = checkpoint.uid, .checkpoint = id};
    TRY(admit(permit.caller, job));
    return start_job(*TRY(make_job(std::move(job), request)));
}

Answer<> Manager::set_pinned(const Permit &permit, const std::string &id, bool pinned) {
    const auto found = TRY(permitted_checkpoint(permit, id));
    if (auto set = daemon::set_pinned(id, pinned); !set)
        return set.error().code() == EBUSY ? refuse(bus::error::busy, "{}", set.error().message())
                                           : failed(set.error());
    if (found.pinned != pinned)
        tell_of_change(id, found.uid, {"Pinned"});
    return {};
}

Answer<std::vector<Pruned>> Manager::prune(std::optional<uid_t> of, const PruneOptions &options) {
    const auto policy = policy::Policy::load_system();
    if (!policy)
        return failed(policy.error());
    auto all = checkpoints(store::Store(), {}, &sizes_);
    if (!all)
        return failed(all.error());
    const auto free = free_space();
    if (!free)
        return failed(free.error());
    const uint64_t now = os::microseconds_of(CLOCK_REALTIME);
    std::map<uint32_t, policy::Retention> of_users;
    auto homes = displaced_homes();
    if (!homes)
        return failed(homes.error());
    const auto is_anothers = [&](const auto &one) { return of && one.uid != *of; };
    std::erase_if(*all, is_anothers);
    std::erase_if(*homes, is_anothers);
    std::set<uint32_t> users;
    for (const auto &one : *all)
        users.insert(one.uid);
    for (const auto &one : *homes)
        users.insert(one.uid);
    for (const auto uid : users) {
        const auto theirs = policy->of(uid);
        if (!theirs)
            return failed(theirs.error());
        of_users.emplace(uid, theirs->service().retention);
    }
    auto pruned = to_prune(*all, policy->service().retention, now, *free, of_users);
    for (auto &one : to_prune(*homes, policy->service().retention, now, of_users))
        pruned.push_back(std::move(one));
    if (!options.dry_run)
        for (const auto &one : pruned) {
            log_info("removing {} {} of user {}: {}", one.displaced.empty() ? "checkpoint" : "displaced home",
                     bus::printable(one.id), one.uid, one.reason);
            remove_unasked(one.uid, one.displaced.empty() ? one.id : "", one.displaced);
        }
    return pruned;
}

Answer<uint32_t> Manager::act_on(const session::Session &session, policy::Act act, const char *trigger) {
    auto checkpoint_id = new_checkpoint_id(session.id);
    if (!checkpoint_id)
        return failed(checkpoint_id.error());
    job::Job job{.kind = job::Kind::suspend,
                 .uid = session.uid,
                 .session = session.id,
                 .checkpoint = std::move(*checkpoint_id),
                 .keep_running = act != policy::Act::suspend,
                 .tty = session.tty,
                 .automatic = true,
                 .trigger = trigger};
    TRY(admit(0, job));
    auto *running = TRY(make_job(std::move(job), nullptr));
    const auto number = running->job.number;
    TRY(start_job(*running));
    return number;
}

bool Manager::is_busy() const {
    return std::ranges::any_of(jobs_, [](const auto &one) { return is_public(one.second->job.kind); });
}

Answer<std::vector<DisplacedHome>> Manager::visible_displaced_homes(uid_t caller) {
    auto all = displaced_homes();
    if (!all)
        return failed(all.error());
    std::erase_if(*all, [&](const DisplacedHome &one) { return caller != 0 && one.uid != caller; });
    return std::move(*all);
}

Answer<std::vector<Checkpoint>> Manager::visible_checkpoints(uid_t caller) const {
    auto all = checkpoints(store::Store(), caller == 0 ? std::nullopt : std::optional(caller), &sizes_);
    if (!all)
        return failed(all.error());
    return std::move(*all);
}

std::vector<const RunningJob *> Manager::visible_jobs(uid_t caller) const {
    std::vector<const RunningJob *> visible;
    for (const auto &[number, running] : jobs_)
        if (is_public(running->job.kind) && (caller == 0 || running->job.uid == caller))
            visible.push_back(running.get());
    return visible;
}

RunningJob *Manager::find_job(uint32_t number) {
    const auto found = jobs_.find(number);
    return found != jobs_.end() && is_public(found->second->job.kind) ? found->second.get() : nullptr;
}

} // namespace abey::daemon
