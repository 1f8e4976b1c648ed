// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"
#include "job/job.h"
#include "session/logind.h"
#include "suspend/suspend.h"

#include <string>
#include <vector>

namespace abey::worker {

struct Target {
    session::Session session;
    std::string home; // of its user, from the user database
};

// The session that the job names; an error when it is gone, or is another user's by now.
Result<Target> find_target(const session::Logind &logind, const job::Job &job);

// What of the session is to stand still: its scope without the frontend.
Result<suspend::Request> request_for(const Target &target);

// What looks like part of the session, but will be left behind: it runs in another unit.
Result<std::vector<capture::Finding>> left_behind(const Target &target);

} // namespace abey::worker
