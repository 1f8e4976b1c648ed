// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/cut.h"
#include "store/recorded_home.h"
#include "worker/worker.h"

namespace abey::worker {

Result<Settled> settle() {
    const store::Store store;
    const auto listed = TRY(store.list());
    Settled settled;
    for (const auto &checkpoint : listed.checkpoints) {
        const bool waits = checkpoint.state == store::State::waiting;
        if (!checkpoint.displaced && !waits)
            continue;
        const auto held = store.hold(checkpoint.about.id);
        if (!held) // a resume is at it
            continue;
        if (waits)
            if (auto back = files::put_back(store.images(checkpoint.about.id)); !back)
                settled.errors.push_back(std::move(back).error());
        if (!checkpoint.displaced)
            continue;
        if (auto told = store::settle_home(store, checkpoint); !told)
            settled.errors.push_back(std::move(told).error());
        else if (!told->empty())
            settled.told.push_back(std::move(*told));
    }
    return settled;
}

} // namespace abey::worker
