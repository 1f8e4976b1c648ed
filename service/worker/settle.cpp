// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/cut.h"
#include "store/recorded_home.h"
#include "worker/worker.h"

namespace abey::worker {

Result<Settled> settle(const store::Store &store) {
    const auto listed = TRY(store.list());
    Settled settled;
    for (const auto &one : listed.checkpoints) {
        const auto held = store.hold(one.about.id);
        if (!held) // a resume is at it, or was, and it is gone
            continue;
        const auto found = store.find(one.about.id);
        if (!found) {
            if (found.error().code() != ENOENT)
                settled.errors.push_back(found.error());
            continue;
        }
        if (found->state == store::State::waiting)
            if (auto back = files::put_back(store.images(one.about.id)); !back)
                settled.errors.push_back(std::move(back).error());
        // Also of one that has displaced nothing yet: its home may be on its way.
        if (auto told = store::settle_home(store, *found); !told)
            settled.errors.push_back(std::move(told).error());
        else if (!told->empty())
            settled.told.push_back(std::move(*told));
    }
    return settled;
}

} // namespace abey::worker
