// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

// Whoever waits for the job is told how it ended; it undoes what it has done first.
Result<int> cancel(const CancelCommand &command) {
    const auto number = bus::job_number(fmt::format("{}/{}", bus::job_prefix, command.job));
    if (!number)
        return fail(0, "\"{}\" is not the number of a job; `abeyctl jobs` lists them", bus::printable(command.job));
    auto client = TRY(Client::connect());
    TRY_IN(client.cancel(bus::job_path(*number)), "job {} is not canceled (`abeyctl jobs` lists them)", *number);
    if (command.json)
        print_json({{"ok", true}, {"job", *number}});
    else
        fmt::print("Job {} is being canceled.\n", *number);
    return 0;
}

} // namespace abey::ctl
