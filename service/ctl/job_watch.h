// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ctl/client.h"
#include "engine/os/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace abey::ctl {

struct JobEnd {
    std::string result;  // "done", "failed", "canceled"
    std::string message; // one line
    std::string session; // of a resume: the new one
    std::string checkpoint;
    std::map<std::string, uint64_t> figures;
};

// Starts a job and waits for its end, showing its progress on standard error when that is a terminal and `progress`
// says so. Ctrl-C asks the daemon to cancel it. `verb` stands in the progress line. With a limit (0: none) it is waited
// for no longer: ETIMEDOUT, the job goes on.
Result<JobEnd> run_job(Client &client, const std::string &verb, bool progress,
                       const std::function<Result<std::string>()> &start, std::chrono::seconds limit = {});

} // namespace abey::ctl
