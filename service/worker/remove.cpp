// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/files.h"
#include "snapshot/provider.h"
#include "store/recorded_home.h"
#include "store/records.h"
#include "store/store.h"
#include "worker/worker.h"

#include <algorithm>

namespace abey::worker {
namespace {

// While a resume may still have to bring it back it is that resume's.
Result<> not_needed(const store::Store &store, const store::DisplacedHome &home) {
    const auto checkpoint = store.find(home.checkpoint);
    if (checkpoint && store::is_under_way(*checkpoint, home))
        return fail(EBUSY, "{} belongs to a resume of checkpoint {} that has not ended", home.home.place,
                    home.checkpoint);
    return {};
}

Result<job::Outcome> remove_displaced(const std::string &name) {
    const store::Store store;
    const auto homes = TRY(store.displaced_homes());
    const auto found = std::ranges::find(homes, name, &store::DisplacedHome::name);
    if (found != homes.end()) {
        TRY(not_needed(store, *found));
        const auto provider = TRY(snapshot::make_provider(found->provider, found->home.home));
        TRY_IN(provider->drop_copy(found->home.place), "{}", found->home.place);
    }
    TRY(store.forget_displaced_home(name));
    return job::Outcome{.ok = true};
}

} // namespace

Result<job::Outcome> remove(const job::Job &job) {
    if (!job.displaced.empty())
        return remove_displaced(job.displaced);
    const store::Store store;
    const auto held = TRY(store.hold(job.checkpoint));
    const auto checkpoint = TRY(store.find(job.checkpoint));
    TRY(store::drop_private_home(store, checkpoint));
    // First of what counts, because from here on it cannot be resumed any more. If we are killed, the daemon has it
    // removed at its next start.
    TRY(store.begin_removal(job.checkpoint));
    // Peers of kept connections need not wait any longer, whatever becomes of the rest
    TRY_IN(store::unlock(store.images(job.checkpoint)), "checkpoint {}", job.checkpoint);
    std::string left;
    if (checkpoint.home) {
        const auto &home = *checkpoint.home;
        const auto provider = TRY(snapshot::make_provider(home.provider, home.home));
        left = TRY_IN(provider->remove(home), "checkpoint {}", job.checkpoint);
    } else if (!checkpoint.about.home.empty()) {
        // The worker may have died between the snapshot and the record of it. No home any more: no snapshot to find.
        TRY_IN(snapshot::discard_saved(checkpoint.about.home, job.checkpoint), "checkpoint {}", job.checkpoint);
    }
    TRY_IN(files::remove_leftovers(store.images(job.checkpoint)), "checkpoint {}", job.checkpoint);
    TRY(store.remove(job.checkpoint));
    TRY(files::collect_pins(store.pins()));
    return job::Outcome{.ok = true, .message = left};
}

} // namespace abey::worker
