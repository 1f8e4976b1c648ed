// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a login is brought back by itself.
#include "daemon/logins.h"
#include "daemon/manager.h"
#include "session/session_policy.h"

#include <algorithm>

namespace abey::daemon {

const RunningJob *Manager::resume_of(uid_t uid) const {
    const auto found = std::ranges::find_if(jobs_, [&](const auto &one) {
        return one.second->job.kind == job::Kind::resume && one.second->job.uid == uid;
    });
    return found != jobs_.end() ? found->second.get() : nullptr;
}

Answer<const RunningJob *> Manager::start_resume(const session::Session &login, const Checkpoint &checkpoint,
                                                 const std::string &tty) {
    job::Job job{.kind = job::Kind::resume,
                 .uid = login.uid,
                 .checkpoint = checkpoint.id,
                 .tty = tty,
                 .login = login.id,
                 .automatic = true};
    TRY(admit(0, job));
    auto *running = TRY(make_job(std::move(job), nullptr));
    TRY(start_job(*running));
    return running;
}

Answer<Manager::LoginResume> Manager::resume_on_login(const Permit &permit, const std::string &id) {
    const auto failed = [](const Error &error) { return refuse(bus::error::failed, "{}", error.message()); };
    const auto login = TRY(permitted_session(permit, id));
    if (!may_get_a_terminal(login))
        return LoginResume();
    if (const auto *running = resume_of(login.uid)) {
        late_terminals_.forget(id);
        return LoginResume{.checkpoint = running->job.checkpoint, .job = running->job.number};
    }
    const auto policy = session::policy_for(login);
    if (!policy)
        return failed(policy.error());
    const auto all = checkpoints();
    if (!all)
        return failed(all.error());
    const auto waiting = waiting_for(login.uid, *all);
    if (!waiting || policy->resume_on_login() != policy::OnLogin::automatic)
        return LoginResume();
    const auto first = first_attempt(waiting->id);
    if (!first)
        return failed(first.error());
    if (!*first)
        return refuse(bus::error::failed, "checkpoint {} could not be resumed before; to try again: abeyctl resume {}",
                      waiting->id, waiting->id);
    // Whoever asks is told by the job's end; and one login brings one session back.
    const auto *running = TRY(start_resume(login, *waiting, ""));
    late_terminals_.forget(id);
    return LoginResume{.checkpoint = waiting->id, .job = running->job.number};
}

} // namespace abey::daemon
