// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a login is told, and brought back by itself.
#include "daemon/log.h"
#include "daemon/logins.h"
#include "daemon/manager.h"
#include "dbus/names.h"
#include "policy/policy.h"
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
    const auto sessions = logind_.sessions_of(login.uid);
    if (!sessions)
        return refuse_for(sessions.error());
    job::Job job{.kind = job::Kind::resume,
                 .uid = login.uid,
                 .checkpoint = checkpoint.id,
                 .tty = tty,
                 .login = login.id,
                 .beside = session_beside(login, *sessions),
                 .automatic = true};
    TRY(admit(0, job));
    // Last: what could not even be begun is no attempt
    const auto first = first_attempt(checkpoint.id);
    if (!first)
        return refuse_for(first.error());
    if (!*first)
        return refuse(bus::error::failed, "it could not be resumed before");
    auto *running = TRY(make_job(std::move(job), nullptr));
    TRY(start_job(*running));
    return running;
}

void Manager::on_login(const session::Session &login) {
    if (!is_login_of_a_person(login)) {
        if (may_get_a_terminal(login))
            late_terminals_.wait_for(login);
        return;
    }
    const auto policy = session::policy_for(login);
    if (!policy)
        return log_error("login of {}: not looking for checkpoints: {}", login.user, policy.error().message());
    const auto all = checkpoints(store::Store(), login.uid);
    if (!all)
        return log_error("login of {}: not looking for checkpoints: {}", login.user, all.error().message());
    const auto wish = policy->resume_on_login();
    const auto waiting = waiting_for(login.uid, *all);
    if (!waiting || wish == policy::OnLogin::never) {
        // The machine went down without warning: what an insurance is for. It is older than the home, so nobody but
        // its user decides.
        const auto insurance = insurance_for(login.uid, *all);
        if (!waiting && insurance && wish != policy::OnLogin::never && first_attempt(insurance->id).value_or(false))
            messenger_.tell(login.tty, login.uid, insurance_text(*insurance));
        return;
    }
    const auto more = waiting_besides(*waiting, *all);
    if (const auto *running = resume_of(login.uid); running != nullptr && running->job.checkpoint == waiting->id) {
        // For this login, when it is announced twice: it will hear of the end
        if (running->job.login != login.id)
            messenger_.tell(login.tty, login.uid, being_resumed_text(*waiting, more));
        return;
    }
    if (wish == policy::OnLogin::ask)
        return messenger_.tell(login.tty, login.uid, waiting_text(*waiting, more));
    if (const auto started = start_resume(login, *waiting, login.tty); !started) {
        log_error("login of {}: checkpoint {}: {}", login.user, waiting->id, started.error().text);
        messenger_.tell(login.tty, login.uid, not_resumed_text(*waiting, started.error().text, more));
    }
}

Answer<Manager::LoginResume> Manager::resume_on_login(const Permit &permit, const std::string &login_id) {
    const auto login = TRY(permitted_session(permit, login_id));
    if (!may_get_a_terminal(login))
        return LoginResume();
    if (const auto *running = resume_of(login.uid)) {
        late_terminals_.forget(login_id);
        return LoginResume{.checkpoint = running->job.checkpoint, .job = running->job.number};
    }
    const auto policy = session::policy_for(login);
    if (!policy)
        return refuse_for(policy.error());
    const auto all = checkpoints(store::Store(), login.uid);
    if (!all)
        return refuse_for(all.error());
    const auto waiting = waiting_for(login.uid, *all);
    if (!waiting || policy->resume_on_login() != policy::OnLogin::automatic)
        return LoginResume();
    // Whoever asks is told by the job's end; and one login brings one session back.
    const auto *running = TRY(start_resume(login, *waiting, ""));
    late_terminals_.forget(login_id);
    return LoginResume{.checkpoint = waiting->id, .job = running->job.number};
}

} // namespace abey::daemon
