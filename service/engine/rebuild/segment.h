// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System V shared memory (sysvipc(7)): a segment under the key and identifier that it had.
#pragma once

#include "engine/rebuild/kind.h"

namespace abey::rebuild {

struct Segment {
    Fd file;             // of its memory, for reading and writing
    bool in_use = false; // it was there, and others have it attached: its contents are theirs
};

// The segment, found or made. One that was made here goes away with `context` unless the tree is let go.
Result<Segment> open_segment(Context &context, const model::SharedMemory &memory);

// Marks it for removal when it was so before; when every task has it attached.
Result<> finish_segment(Context &context, const model::SharedMemory &memory);

} // namespace abey::rebuild
