// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Who may have what done. How it is done: manager_jobs.cpp.
#include "daemon/manager.h"

#include "daemon/log.h"
#include "daemon/logins.h"
#include "dbus/names.h"
#include "policy/policy.h"

#include <algorithm>

namespace abey::daemon {
namespace {

constexpr size_t job_limit = 64;
constexpr size_t user_job_limit = 4;

// A failure of our own (not the caller's mistake) as an answer.
std::unexpected<Refusal> failed(const Error &error) { return refuse(bus::error::failed, "{}", error.message()); }

// Work on the home of a user, which a roll-back must have for itself.
bool touches_home(job::Kind kind) { return kind == job::Kind::suspend || kind == job::Kind::resume; }

bool excludes(const job::Job &one, const job::Job &other) {
    if (!one.session.empty() && one.session == other.session)
        return true;
    if (!one.checkpoint.empty() && one.checkpoint == other.checkpoint)
        return true;
    const bool rolls_back = one.kind == job::Kind::resume || other.kind == job::Kind::resume;
    return one.uid == other.uid && rolls_back && touches_home(one.kind) && touches_home(other.kind);
}

} // namespace

Answer<session::Session> Manager::find_session(const std::string &id) {
    if (!bus::is_session_id(id))
        return refuse(bus::error::invalid_argument, "not the id of a session: \"{}\"", bus::printable(id));
    auto session = logind_.session(id);
    if (!session)
        return session.error().code() == ENXIO ? refuse(bus::error::no_such_session, "there is no session {}", id)
                                               : failed(session.error());
    return std::move(*session);
}

Answer<Checkpoint> Manager::find_checkpoint(const std::string &id) {
    if (!bus::is_checkpoint_id(id))
        return refuse(bus::error::invalid_argument, "not the id of a checkpoint: \"{}\"", bus::printable(id));
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

Answer<> Manager::admit(uid_t caller, const job::Job &job) const {
    size_t own = 0;
    for (const auto &[number, running] : jobs_) {
        if (excludes(job, running->job))
            return refuse(bus::error::busy, "job {} ({}) is at work there; wait for it, or cancel it", number,
                          job::name_of(running->job.kind));
        if (running->job.uid == job.uid)
            own++;
    }
    if (jobs_.size() >= job_limit || (caller != 0 && own >= user_job_limit))
        return refuse(bus::error::too_many_jobs, "{} jobs are at work already; wait for one of them", jobs_.size());
    return {};
}

Answer<uint32_t> Manager::suspend(const Permit &permit, const std::string &id, const SuspendOptions &options,
                                  sd_bus_message *request) {
    const auto session = TRY(permitted_session(permit, id));
    if (session.klass != "user")
        return refuse(bus::error::failed, "session {} is of class \"{}\": only sessions of users can be suspended", id,
                      bus::printable(session.klass));
    if (session.state == "closing" || session.cgroup.empty())
        return refuse(bus::error::failed, "session {} is ending already", id);
    auto checkpoint_id = new_checkpoint_id(id);
    if (!checkpoint_id)
        return failed(checkpoint_id.error());
    job::Job job{.kind = job::Kind::suspend,
                 .uid = session.uid,
                 .session = id,
                 .checkpoint = std::move(*checkpoint_id),
                 .keep_running = options.keep_running,
                 .tty = options.after_disconnect ? session.tty : ""};
    TRY(admit(permit.caller, job));
    auto *running = TRY(make_job(std::move(job), nullptr));
    if (options.after_disconnect)
        TRY(start_after_disconnect(*running, request));
    else
        TRY(start_job(*running));
    return running->job.number;
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

Answer<> Manager::check(const Permit &permit, const std::string &id, sd_bus_message *request) {
    const auto session = TRY(permitted_session(permit, id));
    job::Job job{.kind = job::Kind::check, .uid = session.uid, .session = id};
    TRY(admit(permit.caller, job));
    return start_job(*TRY(make_job(std::move(job), request)));
}

Answer<> Manager::remove(const Permit &permit, const std::string &id, sd_bus_message *request) {
    const auto checkpoint = TRY(permitted_checkpoint(permit, id));
    job::Job job{.kind = job::Kind::remove, .uid = checkpoint.uid, .checkpoint = id};
    TRY(admit(permit.caller, job));
    return start_job(*TRY(make_job(std::move(job), request)));
}

Answer<std::vector<Checkpoint>> Manager::visible_checkpoints(uid_t caller) {
    auto all = checkpoints();
    if (!all)
        return failed(all.error());
    std::erase_if(*all, [&](const Checkpoint &one) { return caller != 0 && one.uid != caller; });
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

void Manager::on_login(const session::Session &login) {
    if (!is_login_of_a_person(login))
        return;
    const auto policy = policy::Policy::load_system();
    if (!policy)
        return log_error("login of {}: not looking for checkpoints: {}", login.user, policy.error().message());
    const auto all = checkpoints();
    if (!all)
        return log_error("login of {}: not looking for checkpoints: {}", login.user, all.error().message());
    const auto waiting = waiting_for(login.uid, *all);
    if (!waiting || policy->resume_on_login() != policy::OnLogin::automatic)
        return;
    const auto first = first_attempt(waiting->id);
    if (!first)
        return log_error("login of {}: checkpoint {}: {}", login.user, waiting->id, first.error().message());
    if (!*first)
        return messenger_.tell(login.tty, login.uid, not_resumed_text(*waiting, "it could not be resumed before"));

    job::Job job{
        .kind = job::Kind::resume, .uid = login.uid, .checkpoint = waiting->id, .tty = login.tty, .automatic = true};
    const auto started = [&]() -> Answer<> {
        TRY(admit(0, job));
        return start_job(*TRY(make_job(job, nullptr)));
    }();
    if (!started) {
        log_error("login of {}: checkpoint {}: {}", login.user, waiting->id, started.error().text);
        messenger_.tell(login.tty, login.uid, not_resumed_text(*waiting, started.error().text));
    }
}

} // namespace abey::daemon
