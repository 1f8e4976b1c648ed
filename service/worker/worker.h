// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The work of one job, in a process of its own. An error means that nothing has changed.
#pragma once

#include "engine/os/result.h"
#include "job/job.h"
#include "store/store.h"

#include <string>
#include <vector>

namespace abey::worker {

Result<job::Outcome> suspend(const job::Job &job);
// Preflight alone; findings are the outcome, fatal ones too, or the answer to the job's question.
Result<job::Outcome> check(const job::Job &job);
// Also of a checkpoint that is half made or half removed.
Result<job::Outcome> remove(const job::Job &job);

// After a power loss: homes that a resume had rolled back, or was about to, and could not give back, are given back.
struct Settled {
    std::vector<std::string> told;
    std::vector<Error> errors;
};
Result<Settled> settle(const store::Store &store = store::Store());

// After a worker that has ended, however it ended: what it left half done is undone, or finished when there was no way
// back.
Result<> clear(const job::Job &job);

} // namespace abey::worker
