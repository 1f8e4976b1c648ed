// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where threads run. Two that only ever wait for each other, as a tracer and what it traces, are several times as fast
// on one CPU: each waking of another CPU takes longer than the work between two of them.
#pragma once

#include <sched.h>

namespace abey::os {

// The CPUs that this program may use: its affinity (sched_setaffinity(2)) when first asked.
const cpu_set_t &cpus_of_program();

// The calling thread stays on the CPU it is on, and so do processes and threads that it makes, until this object ends.
// Where the kernel refuses, nothing changes.
class OneCpu {
  public:
    OneCpu();
    OneCpu(const OneCpu &) = delete;
    OneCpu &operator=(const OneCpu &) = delete;
    ~OneCpu();

  private:
    bool pinned_ = false;
};

// The calling thread may run on all CPUs of the program again.
void use_all_cpus();

} // namespace abey::os
