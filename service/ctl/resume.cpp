// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/job_watch.h"
#include "ctl/joining.h"
#include "ctl/output.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<int> resume(const ResumeCommand &command) {
    if (command.attach) {
        TRY(check_terminal());
        TRY(detach_key_of(command.detach_key));
    }
    auto client = TRY(Client::connect());
    const auto checkpoint = TRY(client.find_checkpoint(command.checkpoint));
    CallOptions options;
    if (!command.pids.empty())
        options["pids"] = command.pids;
    if (!command.on_divergence.empty())
        options["on-divergence"] = command.on_divergence;
    const auto end =
        TRY(run_job(client, "resume", !command.json, [&] { return client.resume_checkpoint(checkpoint.id, options); }));
    if (end.result != "done")
        return fail(0, "checkpoint {} was not resumed: {}", checkpoint.id, end.message);
    if (command.json) {
        print_json(to_json(end));
    } else {
        fmt::print("Checkpoint {} is resumed as session {}; to join it: abeyctl attach {}\n", checkpoint.id,
                   end.session, end.session);
        if (const auto line = figures_line(end.figures); !line.empty())
            fmt::print("{}\n", line);
        if (!end.message.empty())
            fmt::print("{}\n", end.message);
    }
    return command.attach ? attach({.session = end.session, .detach_key = command.detach_key}) : Result<int>(0);
}

} // namespace abey::ctl
