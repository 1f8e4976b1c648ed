// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/resume_job.h"

#include "hooks/hooks.h"
#include "policy/policy.h"
#include "store/recorded_home.h"

#include <cerrno>
#include <optional>

namespace abey::session {
namespace {

Result<resume::Pids> pids_of(const job::Job &job, const policy::Policy &policy) {
    if (job.pids == "same")
        return resume::Pids::same;
    if (job.pids == "namespace")
        return resume::Pids::in_namespace;
    if (job.pids == "auto")
        return resume::Pids::automatic;
    if (!job.pids.empty())
        return fail(EINVAL, "pids: \"{}\" is none of same, namespace, auto", job.pids);
    switch (policy.pids()) {
    case policy::Pids::same:
        return resume::Pids::same;
    case policy::Pids::in_namespace:
        return resume::Pids::in_namespace;
    case policy::Pids::automatic:
        break;
    }
    return resume::Pids::automatic;
}

Result<resume::OnDivergence> on_divergence_of(const job::Job &job, const policy::Policy &policy) {
    if (job.on_divergence == "rollback")
        return resume::OnDivergence::rollback;
    if (job.on_divergence == "private")
        return resume::OnDivergence::private_home;
    if (job.on_divergence == "keep")
        return resume::OnDivergence::keep;
    if (job.on_divergence == "fail")
        return resume::OnDivergence::fail;
    if (!job.on_divergence.empty())
        return fail(EINVAL, "on-divergence: \"{}\" is none of rollback, private, keep, fail", job.on_divergence);
    switch (policy.on_divergence()) {
    case policy::OnDivergence::private_home:
        return resume::OnDivergence::private_home;
    case policy::OnDivergence::keep:
        return resume::OnDivergence::keep;
    case policy::OnDivergence::fail:
        return resume::OnDivergence::fail;
    case policy::OnDivergence::rollback:
        break;
    }
    return resume::OnDivergence::rollback;
}

} // namespace

Result<Work> work_for(const job::Job &job, const store::Store &store) {
    const auto checkpoint = TRY(store.find(job.checkpoint));
    if (checkpoint.about.uid != job.uid)
        return fail(EPERM, "checkpoint {}: it belongs to another user", job.checkpoint);
    if (checkpoint.state != store::State::waiting)
        return fail(0, "checkpoint {}: it is {}, only one that waits can be resumed", job.checkpoint,
                    store::name_of(checkpoint.state));
    const auto &about = checkpoint.about;
    const auto policy = TRY(policy::policy_for(about.uid, about.session, about.service, about.tty));
    resume::Request request;
    request.images = store.images(job.checkpoint);
    request.pids = TRY(pids_of(job, policy));
    request.on_divergence = TRY(on_divergence_of(job, policy));
    // Nobody has asked for this resume, and somebody is at work in the home
    const bool beneath_another = !job.beside.empty() && request.on_divergence == resume::OnDivergence::rollback;
    if (beneath_another)
        request.on_divergence = resume::OnDivergence::fail;
    request.on_changed = [policy](const std::string &path) { return policy.changed(path); };
    // Until it is noted that the session runs, nothing of the checkpoint may go: who is killed in between tries again.
    // The service removes it afterwards, with what it keeps elsewhere.
    request.keep_checkpoint = true;
    // std::function wants to be copied; the provider exists only where the work is done.
    hooks::Facts facts{.checkpoint = job.checkpoint,
                       .user = checkpoint.about.user,
                       .uid = checkpoint.about.uid,
                       .home = checkpoint.about.home,
                       .session = checkpoint.about.session,
                       .keep_running = checkpoint.about.kept_running,
                       .trigger = checkpoint.about.trigger,
                       .details = "",
                       .error = ""};
    return [request, checkpoint, store, policy, facts, beside = beneath_another ? job.beside : ""](
               const ReportProgress &progress) mutable -> Result<resume::Report> {
        // What an earlier attempt has left, if nobody could clear up after it: the home that this one puts aside
        // must be the user's, not one that was rolled back already.
        const auto settled = TRY(store::settle_home(store, checkpoint));
        std::optional<store::RecordedHome> home;
        if (const auto &saved = checkpoint.home)
            home.emplace(TRY(snapshot::make_provider(saved->provider, saved->home)), store, checkpoint.about.id,
                         job::invocation());
        request.home = home ? &*home : nullptr;
        if (home && !beside.empty() && TRY(home->diverged(*checkpoint.home)))
            return fail(0,
                        "{} has changed since then, and your session {} runs: a home is not taken back beneath "
                        "another session unless you say so (--on-divergence=private brings the session back with "
                        "a home of its own)",
                        checkpoint.about.home, beside);
        request.saved = checkpoint.home; // of a checkpoint from another machine the image knows the one there
        request.progress = progress;
        TRY(hooks::run(policy.hooks(), policy::HookEvent::pre_resume, facts));
        auto report = resume::run(request);
        if (!report)
            facts.error = report.error().message();
        else if (!settled.empty())
            report->left_behind += (report->left_behind.empty() ? "" : "; ") + settled;
        if (auto told = hooks::run(policy.hooks(), policy::HookEvent::post_resume, facts); !told && report)
            report->left_behind += (report->left_behind.empty() ? "" : "; ") + told.error().message();
        return report;
    };
}

job::Outcome outcome_of(const job::Job &job, const std::string &session, const resume::Report &report) {
    job::Outcome outcome = {
        .ok = true, .message = {}, .checkpoint = job.checkpoint, .session = session, .figures = {}, .findings = {}};
    if (!report.displaced_home.empty())
        outcome.message = fmt::format("what the home had become is kept in {}", report.displaced_home);
    if (!report.private_home.empty())
        outcome.message =
            fmt::format("only this session sees the home as it was; for others that home is {}", report.private_home);
    outcome.figures = resume::named(report.figures);
    return outcome;
}

} // namespace abey::session
