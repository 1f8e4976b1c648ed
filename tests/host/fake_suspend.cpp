// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The real worker with a stand-in for the engine, for tests of what is around it: the cgroup is frozen and the home
// saved as the pipeline does it, but the processes are just ended. ABEY_FAULT=frozen|saved|committed|ending|half ends
// the worker there.
#include "snapshot/provider.h"
#include "suspend/suspend.h"

#include "engine/os/fd.h"
#include "session/frontend.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace abey::suspend {
namespace {

void fault(std::string_view point) {
    if (const char *wanted = std::getenv("ABEY_FAULT"); wanted != nullptr && point == wanted)
        ::raise(SIGKILL);
}

void tell(const Request &request, const char *phase, int percent) {
    if (request.progress)
        request.progress({.phase = phase, .percent = percent});
}

} // namespace

Result<Report> run(const Request &request) {
    TRY(request.home->prepare());
    tell(request, "freeze", 20);
    TRY(write_file(request.cgroup + "/cgroup.freeze", "1"));
    fault("frozen");
    if (const char *wanted = std::getenv("ABEY_FAULT"); wanted != nullptr && std::string_view(wanted) == "error") {
        TRY(write_file(request.cgroup + "/cgroup.freeze", "0"));
        return fail(EBUSY, "process 1 (init): the stand-in was told to fail");
    }
    TRY(request.home->save(request.id));
    fault("saved");
    TRY(write_file(request.cgroup + "/cgroup.freeze", "0"));
    std::filesystem::create_directory(request.images);
    TRY(write_file(request.images + "/manifest", request.info));
    fault("committed");
    tell(request, "end", 95);
    fault("ending");
    Report report;
    if (!request.keep_running)
        for (const auto &process : TRY(session::processes_in(request.cgroup)))
            if (std::ranges::find(request.spare, process.pid, &capture::Spared::pid) == request.spare.end()) {
                ::kill(process.pid, SIGKILL);
                fault("half");
                report.figures.tasks++;
            }
    report.figures.frozen_time = 1;
    return report;
}

Result<Explained> explain(const Request & /*request*/) { return {}; }

Result<std::vector<capture::Finding>> check(const Request &request) {
    std::vector<capture::Finding> findings;
    for (const auto &process : TRY(session::processes_in(request.cgroup)))
        if (std::ranges::find(request.spare, process.pid, &capture::Spared::pid) == request.spare.end())
            findings.push_back({.pid = process.pid,
                                .comm = process.comm,
                                .object = "all of it",
                                .reason = "stand-in",
                                .fatal = false});
    return findings;
}

} // namespace abey::suspend
