// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/cgroup.h"
#include "engine/os/fd.h"
#include "files/cut.h"
#include "session/frontend.h"
#include "session/user_unit.h"
#include "store/recorded_home.h"
#include "worker/session_end.h"
#include "worker/target.h"
#include "worker/user_service.h"
#include "worker/worker.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>

#include <sys/syscall.h>

namespace abey::worker {
namespace {

// systemd removes the group of a session as soon as nothing runs in it.
bool is_gone(const Error &error) { return error.code() == ENOENT || error.code() == ENODEV; }

// What the worker has noted before anything stood still. One of an earlier version has not: then the session is where
// logind says; and if nobody answers, where systemd puts sessions, with nobody known whom to spare.
struct Whereabouts {
    std::string cgroup;
    std::optional<pid_t> leader;
};
Whereabouts whereabouts_of(const job::Job &job) {
    if (auto noted = job::noted_place(job.number))
        return {std::move(noted->cgroup), noted->leader};
    if (const auto logind = session::Logind::connect())
        if (auto target = find_target(*logind, job))
            return {std::move(target->session.cgroup), target->session.leader};
    return {session::usual_cgroup(job.session, job.uid), {}};
}

// A worker killed between freezing and thawing leaves all of the session standing. Its tasks are no longer traced.
Result<> thaw(const std::string &cgroup) {
    const auto path = cgroup + "/cgroup.freeze";
    if (auto thawed = write_file(path, "0"); !thawed && !is_gone(thawed.error()))
        return thawed;
    return {};
}

// The worker had begun to end the session, so it is suspended: the rest is ended too.
Result<> finish_ending(const std::string &path, pid_t leader) {
    const auto cgroup = os::Cgroup::open(path);
    if (!cgroup)
        return is_gone(cgroup.error()) ? Result<>() : std::unexpected(cgroup.error());
    // Nothing is born while we look. What is stuck in the kernel, so that not all can be frozen, has no children there.
    const auto frozen = os::Frozen::freeze(*cgroup);
    std::map<pid_t, Fd> held;
    auto first = session::processes_in(path);
    if (!first && is_gone(first.error()))
        return {};
    for (const auto &process : TRY(std::move(first)))
        held[process.pid] = Fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    // Looked at again: an id that was used anew before it was held is killed only if it is the session's, too.
    auto second = session::processes_in(path);
    if (!second && is_gone(second.error()))
        return {};
    const auto processes = TRY(std::move(second));
    const auto spare = session::frontend(processes, leader);
    for (const auto &process : processes) {
        if (std::ranges::find(spare, process.pid) != spare.end())
            continue;
        const auto pidfd = held.find(process.pid);
        if (pidfd != held.end() && pidfd->second &&
            ::syscall(SYS_pidfd_send_signal, pidfd->second.get(), SIGKILL, nullptr, 0) < 0 && errno != ESRCH)
            return fail(errno, "process {} ({}): cannot end it", process.pid, process.comm);
    }
    return {};
}

// The drop-in is gone with /run, but not with the worker.
Result<> let_go_of_service(const job::Job &job, bool has_ended) {
    const auto unit = session::unit_id(job.session);
    if (!unit || job.keep_running)
        return {};
    // As much of it as is known when nothing runs in it any more
    return end_seen({.session = TRY(session::of_unit(*unit)), .home = ""}, has_ended);
}

Result<> clear_suspend(const job::Job &job) {
    const auto where = whereabouts_of(job);
    if (!where.cgroup.empty())
        TRY(thaw(where.cgroup));

    const store::Store store;
    const auto checkpoint = store.find(job.checkpoint);
    const bool durable = checkpoint && checkpoint->state == store::State::waiting;
    if (durable && is_marked_ending(job.number)) {
        if (where.leader && !job.keep_running)
            TRY(finish_ending(where.cgroup, *where.leader));
        job::Outcome outcome{.ok = true, .checkpoint = job.checkpoint};
        if (auto let_go = let_go_of_service(job, true); !let_go)
            outcome.message = let_go.error().message(); // the session is suspended all the same
        return job::store_outcome(job.number, outcome);
    }
    const auto let_go = let_go_of_service(job, false);
    if (checkpoint)
        TRY(remove(job));
    else if (checkpoint.error().code() != ENOENT)
        return std::unexpected(checkpoint.error());
    return let_go;
}

// What a killed keeper had let go already has no keeper, and must not run beside what is resumed next.
Result<> end_session_of(const job::Job &job) {
    const auto id = job::noted_session(job.number);
    if (!id)
        return id.error().code() == ENOENT ? Result<>() : std::unexpected(id.error());
    const auto logind = TRY(session::Logind::connect());
    const auto session = logind.session(*id);
    if (!session)
        return session.error().code() == ENXIO ? Result<>() : std::unexpected(session.error());
    if (session->cgroup.empty() || session->uid != job.uid)
        return {};
    const auto cgroup = os::Cgroup::open(session->cgroup);
    if (!cgroup)
        return is_gone(cgroup.error()) ? Result<>() : std::unexpected(cgroup.error());
    return cgroup->kill();
}

// The keeper died before it could say that the session runs: the home is what it was before, and the checkpoint can be
// tried again.
Result<> clear_resume(const job::Job &job) {
    const store::Store store;
    if (const auto checkpoint = store.find(job.checkpoint); checkpoint && checkpoint->state != store::State::waiting)
        return {};
    TRY(end_session_of(job));
    const auto files = files::put_back(store.images(job.checkpoint));
    TRY(store::bring_home_back(store, job.checkpoint, job::invocation()));
    return files;
}

} // namespace

Result<> clear(const job::Job &job) {
    Result<> result;
    // With an outcome the worker has cleaned up itself
    const bool said_nothing = !job::load_outcome(job.number);
    if (said_nothing && job.kind == job::Kind::suspend)
        result = clear_suspend(job);
    if (said_nothing && job.kind == job::Kind::resume)
        result = clear_resume(job);
    if (said_nothing && job.kind == job::Kind::run)
        result = end_session_of(job);
    clear_mark(job.number);
    return result;
}

} // namespace abey::worker
