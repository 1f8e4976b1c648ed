// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/procfs.h"
#include "engine/os/tracee.h"
#include "engine/os/wait_end.h"

#include <map>
#include <optional>

namespace abey::capture {

// Context::state: when waits with a time limit are to end, which can only be seen before all stand still.
struct Waits {
    struct Seen {
        uint64_t end = 0;      // CLOCK_MONOTONIC of the initial time namespace, nanoseconds
        uint64_t switches = 0; // how often the thread had left the processor to wait (os::ProcStatus)
    };
    // Looks at all threads of a process.
    void look_ahead(const os::ProcStat &process);
    std::optional<Result<os::WaitEnds>> ends;
    std::map<int, Seen> by_tid;
    uint64_t stops = 1; // how often at most a thread leaves the processor because of us: with a frozen cgroup twice
};

// Calls that wait, but tell of any interruption (signal(7)): epoll_wait(2), sigtimedwait(2), semtimedop(2). They shall
// go on waiting after ours, as others do, for the time that was left; a signal that is to be handled still ends them.
// What the thread is in is changed so, also when it lives on. Where nobody knows how much of a time limit was left, a
// wait of less than a second begins anew, and a longer one is told of the interruption.
Result<> continue_wait(Context &context, os::Tracee &thread, const os::ProcStatus &status,
                       const std::vector<os::ProcMapping> &mappings);

} // namespace abey::capture
