// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/rebuild/husk.h"

namespace abey::rebuild {

// The contexts of native asynchronous I/O (io_setup(2)) of an address space, at their old addresses and with the events
// that were not fetched yet. Their places are reserved. `null`: the husk's descriptor of /dev/null.
Result<> make_request_rings(Husk &husk, const model::AddressSpace &space, int null);

} // namespace abey::rebuild
