// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A home whose states are written down in the checkpoint, so that whoever comes after a kill or a power loss knows what
// was saved and what was put aside.
#pragma once

#include "snapshot/provider.h"
#include "store/store.h"

#include <memory>
#include <string>
#include <utility>

namespace abey::store {

// A provider that writes into the checkpoint what it has saved, as soon as it has, and what it displaces or copies out,
// before it does: when its worker is killed, somebody else can still remove the snapshot, bring the home back, or
// remove the copy.
class RecordedHome : public snapshot::Provider {
  public:
    // `attempt` names the resume that displaces: see Store::record_displaced().
    RecordedHome(std::unique_ptr<snapshot::Provider> provider, Store store, std::string id, std::string attempt)
        : provider_(std::move(provider)), store_(std::move(store)), id_(std::move(id)), attempt_(std::move(attempt)) {}

    Result<> prepare() override { return provider_->prepare(); }
    Result<snapshot::Saved> save(const std::string &id) override;
    Result<> discard(const std::string &id) override { return provider_->discard(id); }
    Result<std::string> remove(const snapshot::Saved &saved) override { return provider_->remove(saved); }
    Result<bool> diverged(const snapshot::Saved &saved) override { return provider_->diverged(saved); }
    Result<> check(const snapshot::Saved &saved) override { return provider_->check(saved); }
    Result<snapshot::Displaced> roll_back(const snapshot::Saved &saved) override;
    Result<> undo(const snapshot::Displaced &displaced) override;
    Result<std::string> copy_out(const snapshot::Saved &saved) override;
    Result<> drop_copy(const std::string &place) override;
    Result<std::vector<snapshot::Change>> changes(const snapshot::Saved &saved, size_t limit) override {
        return provider_->changes(saved, limit);
    }
    Result<bool> untouched(const snapshot::Saved &saved) override { return provider_->untouched(saved); }
    Result<engine::FormerFiles> former_files(const snapshot::Saved &saved) override {
        return provider_->former_files(saved);
    }
    [[nodiscard]] std::string view(const snapshot::Saved &saved) const override { return provider_->view(saved); }
    Result<std::string> foretell() override { return provider_->foretell(); }
    Result<std::optional<uint64_t>> exclusive(const snapshot::Saved &saved, snapshot::MeasureUntil until) override {
        return provider_->exclusive(saved, until);
    }
    void on_progress(snapshot::CopyProgress progress) override { provider_->on_progress(std::move(progress)); }

  private:
    std::unique_ptr<snapshot::Provider> provider_;
    Store store_;
    std::string id_;
    std::string attempt_;
};

// After a resume whose worker was killed: a home that it had displaced is the home again. Nothing to do, or what is
// recorded is another attempt's: no error, and nothing is touched. A session that was resumed has its home: that one
// stays, whatever happened afterwards, and so does its copy of its own.
Result<> bring_home_back(const Store &store, const std::string &id, const std::string &attempt);

// The same after a power loss, when nobody knows how long ago it was: only a home in which nothing has been changed
// since is exchanged again. What there is to be told of it, or nothing.
Result<std::string> settle_home(const Store &store, const Checkpoint &checkpoint);

// Removes the copy of the home that a resume had begun to make for its session, which never ran.
Result<> drop_private_home(const Store &store, const Checkpoint &checkpoint);

} // namespace abey::store
