// SPDX-License-Identifier: LGPL-2.1-or-later
#include "suspend/suspend.h"

#include "engine/machine.h"
#include "engine/os/cause.h"
#include "engine/os/date.h"
#include "hooks/hooks.h"
#include "policy/policy.h"
#include "session/frontend.h"
#include "session/pictures.h"
#include "session/session_policy.h"
#include "session/user_unit.h"
#include "store/recorded_home.h"
#include "worker/questions.h"
#include "worker/session_end.h"
#include "worker/target.h"
#include "worker/user_service.h"
#include "worker/worker.h"

#include <chrono>
#include <csignal>

#include <nlohmann/json.hpp>

namespace abey::worker {
namespace {

// That the session may stand still longer for a picture of its screens.
constexpr std::chrono::milliseconds pictures_time{500};

// Within which something must have moved on; the first copy of a large home takes longer than that as a whole.
constexpr uint64_t step_time = 15ULL * 60 * 1'000'000; // microseconds, as TimeoutStartSec= of the unit

Result<std::unique_ptr<snapshot::Provider>> home_provider(const policy::Policy &policy, const std::string &home) {
    const auto &verified = policy.home_verified();
    const auto &place = policy.home_snapshots();
    return snapshot::make_provider(policy.home_provider_name(), home,
                                   {.trees = verified.trees, .contents = verified.contents},
                                   {.directory = place.directory, .name = place.name, .snapper = place.snapper});
}

store::Quota quota_of(const policy::Policy &policy) {
    const auto &limits = policy.service().user_limits;
    return {.checkpoints = limits.checkpoints, .size = limits.size};
}

// What hooks are told of the session, as far as it can be told beforehand.
std::string details_of(const Target &target) {
    auto processes = nlohmann::json::array();
    if (const auto found = session::processes_in(target.session.cgroup))
        for (const auto &process : *found)
            processes.push_back({{"pid", process.pid}, {"comm", process.comm}});
    const nlohmann::json json = {
        {"service", target.session.service}, {"tty", target.session.tty}, {"processes", std::move(processes)}};
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<job::Outcome> carry_out(const job::Job &job, const Target &target, const store::About &about,
                               const store::Store &store) {
    const auto policy = TRY(session::policy_for(target.session));
    auto request = TRY(request_for(target));
    // A user's unit ends with its last process; nobody is logged out.
    const bool unit = session::is_unit_id(job.session);
    auto provider = TRY(home_provider(policy, target.home));
    store::RecordedHome home(std::move(provider), store, job.checkpoint, job::invocation());
    request.images = store.images(job.checkpoint);
    request.pins = store.pins();
    request.id = job.checkpoint;
    request.policy = &policy;
    request.home = &home;
    request.info = store::to_json(about);
    request.keep_running = job.keep_running;
    const auto quota = quota_of(policy);
    request.claim = [&](uint64_t bytes) { return store.claim(job.checkpoint, bytes, quota); };
    // What the screens showed at last, for programs that will not draw again: asked while nobody draws.
    session::Pictures pictures;
    std::string unpictured;
    request.progress = [&](const suspend::Progress &progress) {
        if (progress.phase == "memory") {
            if (auto shown = session::pictures_of(job.session, pictures_time))
                pictures = std::move(*shown);
            else if (!unit)
                unpictured = fmt::format("its screens are not kept: {}", shown.error().message());
        }
        if (progress.phase == "commit" && !pictures.empty())
            if (auto recorded = store.record_pictures(job.checkpoint, std::exchange(pictures, {})); !recorded)
                unpictured = recorded.error().message();
        if (progress.phase == "end") {
            // From here on the session ends. Being canceled now would leave half of it.
            (void)std::signal(SIGTERM, SIG_IGN);
            mark_ending(job.number);
        }
        job::report_progress(progress.phase, progress.percent);
        job::ask_for_time(step_time);
    };
    SessionEnd end(target.session);
    if (!unit)
        TRY(end.prepare());
    TRY(prepare_mark(job.number));
    TRY(job::note_place(job.number, {.cgroup = target.session.cgroup, .leader = target.session.leader}));
    const auto behind = TRY(left_behind(target));
    const auto ties = TRY(ties_of(target));
    for (const auto &tie : ties)
        if (tie.fatal && !job.keep_running)
            return fail(cause::not_suspendable, "process {} ({}): {}", tie.pid, tie.comm, tie.reason);
    const auto report = [&]() -> Result<suspend::Report> {
        if (!job.keep_running)
            TRY(expect_end(target));
        return suspend::run(request);
    }();
    if (!report) {
        if (!job.keep_running)
            (void)end_seen(target, false); // what was wanted has failed, and that is told
        return std::unexpected(report.error());
    }

    job::Outcome outcome{.ok = true, .checkpoint = job.checkpoint, .figures = named(report->figures)};
    outcome.findings = report->findings;
    if (!job.keep_running)
        outcome.findings.insert(outcome.findings.end(), behind.begin(), behind.end());
    outcome.findings.insert(outcome.findings.end(), ties.begin(), ties.end());
    // The session is suspended; what fails from here on is told, and changes nothing about that.
    const auto tell = [&outcome](const std::string &what) {
        if (!what.empty())
            outcome.message += (outcome.message.empty() ? "" : "; ") + what;
    };
    if (auto recorded = store.record_figures(job.checkpoint, outcome.figures); !recorded)
        tell(recorded.error().message());
    tell(unpictured);
    if (!job.keep_running && !unit)
        if (auto ended = end.wait(); !ended)
            tell(ended.error().message());
    if (!job.keep_running)
        if (auto seen = end_seen(target, true); !seen)
            tell(seen.error().message());
    return outcome;
}

// A snapshot that could not be removed is still known by its record, and removed at the daemon's next start.
Result<> give_up(const job::Job &job, const store::Store &store) {
    const auto checkpoint = TRY(store.find(job.checkpoint));
    if (!checkpoint.home) {
        TRY(store.remove(job.checkpoint));
        return files::collect_pins(store.pins());
    }
    TRY(remove(job));
    return {};
}

} // namespace

Result<job::Outcome> suspend(const job::Job &job) {
    const auto logind = TRY(session::Logind::connect());
    const auto target = TRY(find_target(logind, job));
    const store::Store store;
    const store::About about{.id = job.checkpoint,
                             .uid = job.uid,
                             .user = target.session.user,
                             .home = target.home,
                             .session = job.session,
                             .service = target.session.service,
                             .tty = target.session.tty,
                             .created = os::microseconds_of(CLOCK_REALTIME),
                             .kept_running = job.keep_running,
                             .trigger = job.trigger,
                             .boot = TRY(engine::boot_id())};
    const auto policy = TRY(session::policy_for(target.session));
    TRY(store.begin(about, quota_of(policy)));
    auto held = TRY(store.hold(job.checkpoint));
    hooks::Facts facts{.checkpoint = job.checkpoint,
                       .user = target.session.user,
                       .uid = job.uid,
                       .home = target.home,
                       .session = job.session,
                       .keep_running = job.keep_running,
                       .trigger = job.trigger,
                       .details = policy.hooks().empty() ? "" : details_of(target),
                       .error = ""};
    auto outcome = [&]() -> Result<job::Outcome> {
        TRY(hooks::run(policy.hooks(), policy::HookEvent::pre_suspend, facts));
        return carry_out(job, target, about, store);
    }();
    if (!outcome)
        facts.error = outcome.error().message();
    if (auto told = hooks::run(policy.hooks(), policy::HookEvent::post_suspend, facts); !told && outcome)
        outcome->message += (outcome->message.empty() ? "" : "; ") + told.error().message();
    if (!outcome) {
        held.reset();
        if (auto removed = give_up(job, store); !removed)
            return within(std::move(outcome).error(), "{}; and then", removed.error().message());
    }
    return outcome;
}

Result<job::Outcome> check(const job::Job &job) {
    if (job.question == "diff")
        return diff(job);
    if (job.question == "measure")
        return measure(job);
    const auto logind = TRY(session::Logind::connect());
    const auto target = TRY(find_target(logind, job));
    const auto policy = TRY(session::policy_for(target.session));
    auto request = TRY(request_for(target));
    const auto home = TRY(home_provider(policy, target.home));
    request.policy = &policy;
    if (job.question == "explain")
        return explain(job, request);
    request.home = home.get();
    auto findings = TRY(suspend::check(request));
    for (auto &finding : TRY(left_behind(target)))
        findings.push_back(std::move(finding));
    for (auto &finding : TRY(ties_of(target)))
        findings.push_back(std::move(finding));
    return job::Outcome{.ok = true, .findings = std::move(findings)};
}

} // namespace abey::worker
