// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/file_watches.h"
#include "engine/rebuild/kind.h"

namespace abey::rebuild {

// O_PATH of what is watched; none when the path leads nowhere any more: what was watched has gone. `changed`: that, or
// another file has the path.
Result<Fd> find_watched(Context &context, const model::Watch &watch, bool &changed);

} // namespace abey::rebuild
