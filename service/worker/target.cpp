// SPDX-License-Identifier: LGPL-2.1-or-later
#include "worker/target.h"

#include "engine/os/cause.h"
#include "engine/os/cgroup.h"
#include "engine/os/user.h"
#include "files/unheld.h"
#include "session/controllers.h"
#include "session/frontend.h"
#include "session/stray.h"
#include "session/terminal.h"
#include "session/user_unit.h"

#include <algorithm>

namespace abey::worker {

Result<Target> find_target(const session::Logind &logind, const job::Job &job) {
    auto session =
        session::is_unit_id(job.session) ? TRY(session::user_unit(job.session)) : TRY(logind.session(job.session));
    if (session.uid != job.uid)
        return fail(0, "session {} belongs to user {} now", job.session, session.uid);
    if (session.cgroup.empty())
        return fail(cause::not_suspendable, "session {} has no processes any more", job.session);
    auto user = TRY_IN(os::user_of(session.uid), "session {}", job.session);
    return Target{.session = std::move(session), .home = std::move(user.home)};
}

Result<suspend::Request> request_for(const Target &target) {
    // Display server and compositor are part of such a session or of the seat: their devices, and what clients have
    // there, cannot be brought back.
    if (session::is_graphical(target.session))
        return fail(cause::not_suspendable,
                    "session {} is graphical ({}): what its programs have with the display server could not be brought "
                    "back; suspend sessions on terminals instead, or what [graphical] in the policy names",
                    target.session.id, target.session.type);
    TRY_IN(session::refuse_controllers(target.session.cgroup), "session {}", target.session.id);
    const auto processes = TRY_IN(session::processes_in(target.session.cgroup), "session {}", target.session.id);
    suspend::Request request;
    request.cgroup = target.session.cgroup;
    request.runtime_directory = files::runtime_directory_of(target.session.uid);
    request.most_terminals = session::terminal_limit;
    const auto spare = session::frontend(processes, target.session.leader);
    for (const session::Process &process : processes)
        if (std::ranges::binary_search(spare, process.pid))
            request.spare.push_back({process.pid, process.start_time});
    if (processes.size() == request.spare.size())
        return fail(cause::not_suspendable, "session {} has no processes but those of the login itself",
                    target.session.id);
    return request;
}

Result<std::vector<capture::Finding>> left_behind(const Target &target) {
    auto inside = TRY_IN(session::processes_in(target.session.cgroup), "session {}", target.session.id);
    const auto spare = session::frontend(inside, target.session.leader);
    const auto others = TRY(session::others_than(inside, spare));
    std::erase_if(inside, [&](const session::Process &one) { return std::ranges::binary_search(spare, one.pid); });
    std::vector<capture::Finding> findings;
    for (const session::Process &stray : session::strays(inside, others)) {
        const std::string group = os::cgroup_of(stray.pid);
        const std::string unit = group.substr(group.rfind('/') + 1);
        findings.push_back(
            {.pid = stray.pid,
             .comm = stray.comm,
             .object = "control group",
             .reason = fmt::format("it runs in {}, not in the session: it is not suspended, and loses {}", unit,
                                   stray.tty != 0 ? "its terminal" : "its parent"),
             .advice =
                 group.find("/user@") != std::string::npos && (unit.ends_with(".scope") || unit.ends_with(".service"))
                     ? fmt::format("`abeyctl suspend --unit {}` suspends that apart", unit)
                     : "end it first, or start it without a unit of its own",
             .fatal = false});
    }
    return findings;
}

} // namespace abey::worker
