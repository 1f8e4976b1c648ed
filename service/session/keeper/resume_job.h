// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "job/job.h"
#include "session/keeper/worker.h"
#include "store/store.h"

#include <string>

namespace abey::session {

// What a resume job asks of resume::run(), with the checkpoint of the store and the administrator's policy.
// Refuses, before anything is touched, a checkpoint that does not wait, or that is not the job's user's.
Result<Work> work_for(const job::Job &job, const store::Store &store);

// What the service is told of a resume that went well.
job::Outcome outcome_of(const job::Job &job, const std::string &session, const resume::Report &report);

} // namespace abey::session
