// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What all open files have in common, of whatever kind.
#pragma once

#include "engine/rebuild/kind.h"

namespace abey::rebuild {

// Null when no kind has such a payload.
const Kind *kind_of(const model::OpenFile &file);

// For open(2): without what only matters at creation, and O_NONBLOCK, so that no open waits.
uint32_t reopen_flags(uint32_t flags);

// Status flags, position, signal number; locks, too, when no task has it in its table (else restore_in_task does).
Result<> restore_state(int fd, const model::OpenFile &file, bool in_a_table);

// Appends to the batch what belongs to a task: locks, the owner of signals (once for an open file).
Result<> restore_in_task(Context &context, const model::Task &task, const model::Descriptor &descriptor,
                         const model::OpenFile &file, os::Batch &batch);

} // namespace abey::rebuild
