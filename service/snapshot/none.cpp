// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/none.h"

namespace abey::snapshot {
namespace {

class None final : public Provider {
  public:
    explicit None(std::string home) : home_(std::move(home)) {}

    Result<> prepare() override { return {}; }
    Result<Saved> save(const std::string & /*id*/) override { return Saved{.provider = "none", .home = home_}; }
    Result<> discard(const std::string & /*id*/) override { return {}; }
    Result<> remove(const Saved & /*saved*/) override { return {}; }
    Result<bool> diverged(const Saved & /*saved*/) override { return false; }
    Result<> check(const Saved & /*saved*/) override { return {}; }
    Result<Displaced> roll_back(const Saved & /*saved*/) override {
        return fail(ENOTSUP, "home {}: no state of it was kept that it could be brought back to", home_);
    }
    Result<> undo(const Displaced & /*displaced*/) override {
        return fail(ENOTSUP, "home {}: no state of it was displaced", home_);
    }

  private:
    std::string home_;
};

} // namespace

std::unique_ptr<Provider> make_none(std::string home) { return std::make_unique<None>(std::move(home)); }

} // namespace abey::snapshot
