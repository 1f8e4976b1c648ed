// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "snapshot/provider.h"
#include "store/store.h"

#include <memory>
#include <string>
#include <utility>

namespace abey::store {

// A provider that writes into the checkpoint what it has saved or displaced, as soon as it has: when its worker is
// killed afterwards, somebody else can still remove the snapshot, or bring the home back.
class RecordedHome : public snapshot::Provider {
  public:
    RecordedHome(std::unique_ptr<snapshot::Provider> provider, Store store, std::string id)
        : provider_(std::move(provider)), store_(std::move(store)), id_(std::move(id)) {}

    Result<> prepare() override { return provider_->prepare(); }
    Result<snapshot::Saved> save(const std::string &id) override {
        auto saved = TRY(provider_->save(id));
        if (auto recorded = store_.record_home(id_, saved); !recorded) {
            // The error that counts is the first one.
            [[maybe_unused]] const auto removed = provider_->remove(saved);
            return std::unexpected(std::move(recorded).error());
        }
        return saved;
    }
    Result<> discard(const std::string &id) override { return provider_->discard(id); }
    Result<> remove(const snapshot::Saved &saved) override { return provider_->remove(saved); }
    Result<bool> diverged(const snapshot::Saved &saved) override { return provider_->diverged(saved); }
    Result<> check(const snapshot::Saved &saved) override { return provider_->check(saved); }
    Result<snapshot::Displaced> roll_back(const snapshot::Saved &saved) override {
        auto displaced = TRY(provider_->roll_back(saved));
        if (auto recorded = store_.record_displaced(id_, displaced); !recorded) {
            [[maybe_unused]] const auto undone = provider_->undo(displaced);
            return std::unexpected(std::move(recorded).error());
        }
        return displaced;
    }
    Result<> undo(const snapshot::Displaced &displaced) override {
        TRY(provider_->undo(displaced));
        return store_.forget_displaced(id_);
    }

  private:
    std::unique_ptr<snapshot::Provider> provider_;
    Store store_;
    std::string id_;
};

// After a resume whose worker was killed: a home that it had displaced is the home again. Nothing to do: no error. A
// session that was resumed has its home: that one stays, whatever happened afterwards.
inline Result<> bring_home_back(const Store &store, const std::string &id) {
    const auto checkpoint = TRY(store.find(id));
    if (!checkpoint.displaced || !checkpoint.home || checkpoint.state == State::resumed)
        return {};
    const auto provider = TRY(snapshot::make_provider(checkpoint.home->provider, checkpoint.home->home));
    TRY_IN(provider->undo(*checkpoint.displaced), "checkpoint {}", id);
    return store.forget_displaced(id);
}

} // namespace abey::store
