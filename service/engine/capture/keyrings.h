// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Keys (keyrings(7)) that a task finds through keyrings of its own: of its thread, its process, its session. They end
// with the last task that has them, and are told.
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/injection.h"

#include <array>
#include <set>

namespace abey::capture {

// Asks for one thread's keyrings, as part of a batch.
class KeyringCalls {
  public:
    // `process`: also for that of the whole process.
    void ask(os::Batch &batch, bool process);
    // Ids of those that there are.
    [[nodiscard]] std::vector<std::pair<std::string_view, int32_t>> answer(const os::Batch &batch) const;

  private:
    std::array<size_t, 3> calls_ = {};
    size_t count_ = 0;
};

// Context::state
struct Keyrings {
    std::set<int32_t> seen;
};

// Tells what is in these keyrings, each once. The thread is one of the process `injection` is in.
Result<> tell_keys(Context &context, const os::ProcStat &stat, os::Injection &injection, os::Tracee &thread,
                   int own_tid, const std::vector<std::pair<std::string_view, int32_t>> &keyrings);

} // namespace abey::capture
