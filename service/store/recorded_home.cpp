// SPDX-License-Identifier: LGPL-2.1-or-later
#include "store/recorded_home.h"

#include <unistd.h>

namespace abey::store {

Result<snapshot::Saved> RecordedHome::save(const std::string &id) {
    auto saved = TRY(provider_->save(id));
    if (auto recorded = store_.record_home(id_, saved); !recorded) {
        // The error that counts is the first one.
        [[maybe_unused]] const auto removed = provider_->remove(saved);
        return std::unexpected(std::move(recorded).error());
    }
    return saved;
}

Result<snapshot::Displaced> RecordedHome::roll_back(const snapshot::Saved &saved) {
    std::optional<snapshot::Displaced> announced;
    provider_->on_displacing([&](const snapshot::Displaced &displaced) -> Result<> {
        TRY(store_.record_displaced(id_, displaced, attempt_));
        announced = displaced;
        return {};
    });
    auto displaced = provider_->roll_back(saved);
    provider_->on_displacing({});
    if (!displaced) {
        // If not now, then by whoever comes next and finds the record.
        if (announced && provider_->undo(*announced))
            (void)store_.forget_displaced(id_);
        return displaced;
    }
    if (announced && announced->place == displaced->place)
        return displaced;
    if (auto recorded = store_.record_displaced(id_, *displaced, attempt_); !recorded) {
        [[maybe_unused]] const auto undone = provider_->undo(*displaced);
        return std::unexpected(std::move(recorded).error());
    }
    return displaced;
}

Result<> RecordedHome::undo(const snapshot::Displaced &displaced) {
    TRY(provider_->undo(displaced));
    return store_.forget_displaced(id_);
}

Result<std::string> RecordedHome::copy_out(const snapshot::Saved &saved) {
    std::string announced;
    provider_->on_copying([&](const std::string &place) -> Result<> {
        TRY(store_.record_private_home(id_, {.place = place, .attempt = attempt_}));
        announced = place;
        return {};
    });
    auto place = provider_->copy_out(saved);
    provider_->on_copying({});
    if (!place && !announced.empty())
        (void)drop_copy(announced); // if not now, then by whoever comes next and finds the record
    return place;
}

Result<> RecordedHome::drop_copy(const std::string &place) {
    TRY(provider_->drop_copy(place));
    return store_.forget_private_home(id_);
}

Result<> drop_private_home(const Store &store, const Checkpoint &checkpoint) {
    if (!checkpoint.private_home || !checkpoint.home || checkpoint.state != State::waiting)
        return {};
    const auto &home = *checkpoint.home;
    const auto provider = TRY(snapshot::make_provider(home.provider, home.home));
    TRY_IN(provider->drop_copy(checkpoint.private_home->place), "checkpoint {}", checkpoint.about.id);
    return store.forget_private_home(checkpoint.about.id);
}

Result<> bring_home_back(const Store &store, const std::string &id, const std::string &attempt) {
    const auto checkpoint = TRY(store.find(id));
    if (checkpoint.home)
        TRY_IN(snapshot::give_back_home(checkpoint.home->home), "checkpoint {}", id);
    if (checkpoint.private_home && !attempt.empty() && checkpoint.private_home->attempt == attempt)
        TRY(drop_private_home(store, checkpoint));
    if (!checkpoint.displaced || !checkpoint.home || checkpoint.state == State::resumed || attempt.empty() ||
        checkpoint.displaced_by != attempt)
        return {};
    const auto provider = TRY(snapshot::make_provider(checkpoint.home->provider, checkpoint.home->home));
    TRY_IN(provider->undo(*checkpoint.displaced), "checkpoint {}", id);
    return store.forget_displaced(id);
}

Result<std::string> settle_home(const Store &store, const Checkpoint &checkpoint) {
    const auto &id = checkpoint.about.id;
    if (checkpoint.home)
        TRY_IN(snapshot::give_back_home(checkpoint.home->home), "checkpoint {}", id);
    TRY(drop_private_home(store, checkpoint));
    if (!checkpoint.displaced || !checkpoint.home || checkpoint.state != State::waiting)
        return "";
    const auto provider = TRY(snapshot::make_provider(checkpoint.home->provider, checkpoint.home->home));
    const auto &place = checkpoint.displaced->place;
    std::string told;
    if (!TRY_IN(provider->untouched(*checkpoint.home), "checkpoint {}", id)) {
        if (::access(place.c_str(), F_OK) == 0)
            told =
                fmt::format("home {} was brought to the state of checkpoint {} by a resume that did not end, and has "
                            "been changed since; what it was before is kept in {}",
                            checkpoint.home->home, id, place);
    } else {
        TRY_IN(provider->undo(*checkpoint.displaced), "checkpoint {}", id);
        told = fmt::format("home {} is again what it was before a resume of checkpoint {} that did not end",
                           checkpoint.home->home, id);
    }
    TRY(store.forget_displaced(id));
    return told;
}

} // namespace abey::store
