// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Filling a husk, step by step, in this order, each step for every task of the tree before the next.
#pragma once

#include "engine/os/guard.h"
#include "engine/rebuild/husk.h"

namespace abey::rebuild {

// Before the task's children are made: the pages that they still have in common with it (copy-on-write), for them to
// inherit. `children` are tasks of the same tree.
Result<> seed_memory(Context &context, Husk &husk, const model::Task &task,
                     const std::vector<const model::Task *> &children);

// The address space: vDSO in place, mappings, pages, layout, executable. The husk's descriptor table is still empty.
Result<> fill_memory(Context &context, Husk &husk, const model::Task &task);

// Directory, root, umask; for all tasks before any has descriptors, because tables and places may be shared.
Result<> fill_places(Context &context, Husk &husk, const model::Task &task);

// Descriptors at their numbers and what only the task can do with them; signal actions, limits,
// personality. `table_done`: the table is shared with a task that has it already.
Result<> fill_state(Context &context, Husk &husk, const model::Task &task, bool table_done);

// Threads, timers, pending signals, scheduling, registrations; credentials last. Afterwards the husk has no privileges.
Result<> fill_threads(Context &context, Husk &husk, const model::Task &task);

// The region's own `syscall` instruction, for single calls: whoever makes one is stopped at its end, when nothing of
// the region is needed any more. `tid`: a thread that has the region.
Result<uint64_t> call_in_region(int tid, const os::Remote &region);

// Registers, signal masks; the region is unmapped. Nothing is left to do but to let go.
Result<> make_ready(Husk &husk, const model::Task &task);

// While tasks are let go one by one: should that not come to its end, because of an error or because this process is
// killed, those that run already are killed, too. Half a session would be worse than none, which can be brought back.
Result<os::Guard> all_or_nothing(std::vector<int> pids);

// Lets every thread run (or stand in its group-stop).
Result<> release(Husk &husk, const model::Task &task, const model::Tree &tree);

} // namespace abey::rebuild
