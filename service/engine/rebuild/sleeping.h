// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/rebuild/husk.h"

#include <optional>

namespace abey::rebuild {

// A thread of a husk begins to sleep for the time that was left, and is interrupted: now the kernel knows how to go on
// with just that call (restart_syscall(2)). `call`: a `syscall` instruction in its memory. The result that the call
// had; nothing when its time is not known.
Result<std::optional<long>> fall_asleep(const Husk &husk, os::Tracee &tracee, const model::Thread &thread,
                                        uint64_t call);

} // namespace abey::rebuild
