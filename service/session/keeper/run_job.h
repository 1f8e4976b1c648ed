// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "job/job.h"
#include "session/keeper/worker.h"

#include <string>
#include <vector>

namespace abey::session {

// What a run job starts: the user's command, or login shell when there is none, as leader of a new terminal, with the
// rights of the job's user and no others. An error when it cannot be executed.
// `environment`: what PAM gives to the session ("NAME=value"); it wins over what the caller of the job gave.
Result<resume::Report> start_command(const job::Job &job, const std::vector<std::string> &environment);

// Of the job's and PAM's variables, and what a login adds where both are silent. Each name once.
std::vector<std::string> environment_of(const job::Job &job, const std::vector<std::string> &from_pam,
                                        const std::vector<std::string> &of_account);

} // namespace abey::session
