// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Checks that are answered by a JSON document: dbus/org.abeyance1.xml tells what is in it.
#pragma once

#include "job/job.h"
#include "suspend/suspend.h"

namespace abey::worker {

// How each file that the session holds comes back.
Result<job::Outcome> explain(const job::Job &job, const suspend::Request &request);
// What differs in the home from the state that belongs to the checkpoint.
Result<job::Outcome> diff(const job::Job &job);
// What the saved homes of all checkpoints of the job's user (root: of everybody) hold alone, and whether they are
// there.
Result<job::Outcome> measure(const job::Job &job);

} // namespace abey::worker
