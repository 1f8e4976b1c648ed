// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/files.h"
#include "snapshot/provider.h"
#include "store/records.h"
#include "store/store.h"
#include "worker/worker.h"

namespace abey::worker {

Result<job::Outcome> remove(const job::Job &job) {
    const store::Store store;
    const auto checkpoint = TRY(store.find(job.checkpoint));
    const auto held = TRY(store.hold(job.checkpoint));
    // First, because from here on it cannot be resumed any more. If we are killed, the daemon has it removed at its
    // next start.
    TRY(store.begin_removal(job.checkpoint));
    if (checkpoint.home) {
        const auto &home = *checkpoint.home;
        const auto provider = TRY(snapshot::make_provider(home.provider, home.home));
        TRY_IN(provider->remove(home), "checkpoint {}", job.checkpoint);
    } else if (!checkpoint.about.home.empty()) {
        // The worker may have died between the snapshot and the record of it. No home any more: no snapshot to find.
        TRY_IN(snapshot::discard_saved(checkpoint.about.home, job.checkpoint), "checkpoint {}", job.checkpoint);
    }
    TRY_IN(store::unlock(store.images(job.checkpoint)), "checkpoint {}", job.checkpoint);
    TRY_IN(files::remove_leftovers(store.images(job.checkpoint)), "checkpoint {}", job.checkpoint);
    TRY(store.remove(job.checkpoint));
    TRY(files::collect_pins(store.pins()));
    return job::Outcome{.ok = true};
}

} // namespace abey::worker
