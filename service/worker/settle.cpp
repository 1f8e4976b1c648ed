// SPDX-License-Identifier: LGPL-2.1-or-later
#include "store/recorded_home.h"
#include "worker/worker.h"

namespace abey::worker {

Result<Settled> settle() {
    const store::Store store;
    const auto listed = TRY(store.list());
    Settled settled;
    for (const auto &checkpoint : listed.checkpoints) {
        if (!checkpoint.displaced)
            continue;
        const auto held = store.hold(checkpoint.about.id);
        if (!held) // a resume is at it
            continue;
        if (auto told = store::settle_home(store, checkpoint); !told)
            settled.errors.push_back(std::move(told).error());
        else if (!told->empty())
            settled.told.push_back(std::move(*told));
    }
    return settled;
}

} // namespace abey::worker
