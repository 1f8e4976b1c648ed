// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Large parts of a husk's memory, filled from outside: threads of the worker copy pages of the image straight to where
// they belong (userfaultfd(2), UFFDIO_COPY). No fault for each page, none zeroed first, several at a time.
#pragma once

#include "engine/rebuild/husk.h"
#include "engine/rebuild/page_runs.h"

namespace abey::rebuild {

// `mappings`: of the husk, made by now or waiting in `calls`; `absent`: wanted pages where it has none yet. Returns
// those that the husk is to read itself: small parts, other memory than private anonymous one, all of them where the
// kernel does not let us.
Result<Runs> copy_pages(const Context &context, Husk &husk, Calls &calls, const std::vector<model::Mapping> &mappings,
                        const Runs &absent);

} // namespace abey::rebuild
