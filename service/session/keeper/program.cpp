// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/program.h"
#include "engine/os/fault_point.h"
#include "files/cut.h"
#include "session/keeper/keeper.h"
#include "session/keeper/resume_job.h"
#include "session/keeper/run_job.h"
#include "store/recorded_home.h"

#include <cstdio>
#include <exception>

#include <systemd/sd-daemon.h>

namespace abey::session {
namespace {

void complain(std::string_view what) { fmt::print(stderr, SD_ERR "abey-keeper: {}\n", what); }

// A session that begins here.
Result<> run_command(const job::Job &job, bool &answered) {
    std::vector<std::string> variables;
    session::Keep request;
    request.uid = job.uid;
    request.pam_service = "abeyance-run";
    request.progress = [](const resume::Progress &progress) { job::report_progress(progress.phase, progress.percent); };
    request.opened = [&](const std::string &session) { return job::note_session(job.number, session); };
    request.environment = [&](std::vector<std::string> given) {
        variables = std::move(given);
        variables.emplace_back("ABEYANCE_RUN=1"); // for profiles: do not start another one within
    };
    request.work = [&](const session::ReportProgress & /*progress*/) { return session::start_command(job, variables); };
    request.ready = [&](const std::string &session, const resume::Report & /*report*/) -> Result<> {
        TRY(job::store_outcome(job.number, {.ok = true, .session = session}));
        answered = true;
        (void)::sd_notifyf(0, "READY=1\nSTATUS=Session %s runs", session.c_str());
        return {};
    };
    request.complain = [](const Error &error) { complain(error.message()); };
    return session::keep(request);
}

// Carries the job out; `answered` once the service has had its answer.
Result<> run(uint32_t number, bool &answered) {
    const auto job = TRY(job::load(number));
    if (job.kind == job::Kind::run)
        return run_command(job, answered);
    if (job.kind != job::Kind::resume)
        return fail(0, "job {}: neither a resume nor a run", number);
    const store::Store store;
    auto held = TRY(store.hold(job.checkpoint));
    session::Keep request;
    request.uid = job.uid;
    request.login = job.login;
    request.work = TRY(session::work_for(job, store));
    if (auto pictures = store.pictures(job.checkpoint))
        request.pictures = std::move(*pictures);
    else
        complain(pictures.error().message()); // programs that draw again do without
    request.progress = [](const resume::Progress &progress) { job::report_progress(progress.phase, progress.percent); };
    request.opened = [number](const std::string &session) { return job::note_session(number, session); };
    request.ready = [&](const std::string &session, const resume::Report &report) -> Result<> {
        // The point of no return. One session that runs and still waits would be resumed a second time.
        TRY(store.mark_resumed(job.checkpoint));
        os::fault_point("marked");
        answered = true;
        held.reset();
        if (!report.left_behind.empty())
            complain(report.left_behind);
        if (auto told = job::store_outcome(number, session::outcome_of(job, session, report)); !told)
            complain(told.error().message());
        (void)::sd_notifyf(0, "READY=1\nSTATUS=Session %s is resumed", session.c_str());
        return {};
    };
    request.complain = [](const Error &error) { complain(error.message()); };
    auto kept = session::keep(request);
    // A resume that fails puts the home and all files back itself; one that was killed could not.
    if (!kept && !answered) {
        const auto files = files::put_back(store.images(job.checkpoint));
        if (auto back = store::bring_home_back(store, job.checkpoint, job::invocation()); !back)
            return within(std::move(kept).error(), "{}; and then", back.error().message());
        if (!files)
            return within(std::move(kept).error(), "{}; and then", files.error().message());
    }
    return kept;
}

int keep(const char *argument) {
    const auto number = job::number_from(argument);
    if (!number) {
        complain(number.error().message());
        return 2;
    }
    bool answered = false;
    const auto kept = run(*number, answered);
    if (kept)
        return 0;
    complain(kept.error().message());
    if (answered)
        return 1;
    if (auto told = job::store_outcome(*number, job::failed(kept.error())); !told)
        complain(told.error().message());
    return 1;
}

} // namespace

int program(int argc, char **argv) {
    if (argc != 2) {
        fmt::print(stderr, "usage: abey-keeper JOB\nStarted by systemd for a job of abeyd.\n");
        return 2;
    }
    try {
        return keep(argv[1]);
    } catch (const std::exception &error) {
        (void)std::fprintf(stderr, "abey-keeper: %s\n", error.what());
        return 1;
    }
}

} // namespace abey::session
