// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "resume/resume.h"

#include <functional>

namespace abey::session {

using ReportProgress = std::function<void(const resume::Progress &)>;
// One resume, as resume::run() does it.
using Work = std::function<Result<resume::Report>(const ReportProgress &)>;

// Has a child process do the work, waits for it, and takes over what it has made: the terminals' masters, and, because
// the caller is a child subreaper (PR_SET_CHILD_SUBREAPER, set here), the root processes. So that nothing of the work
// stays in the caller: no memory, no descriptors, no ptrace.
// On error no child of the caller is left; a caller that has blocked SIGTERM and job::cancel_signal and gets one of
// them meanwhile sees ECANCELED, and the signal stays pending. `progress` is called in the caller, meanwhile.
Result<resume::Report> in_worker(const Work &work, const ReportProgress &progress);

// ECANCELED when one of those signals is pending: it may have come when the work was just done.
Result<> check_for_stop();

// Kills and reaps all children of this process, and theirs, as they become its own (it is a child subreaper).
void end_children();

} // namespace abey::session
