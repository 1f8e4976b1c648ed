// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/checkpoints.h"

#include "daemon/log.h"
#include "engine/machine.h"
#include "engine/os/date.h"
#include "store/records.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

namespace abey::daemon {
namespace {

bool is_shown(store::State state) { return state == store::State::waiting || state == store::State::resumed; }

Result<Checkpoint> shown(const store::Store &store, const store::Checkpoint &checkpoint, Sizes *sizes) {
    const auto &about = checkpoint.about;
    return Checkpoint{.id = about.id,
                      .uid = about.uid,
                      .user = about.user,
                      .session = about.session,
                      .created = about.created,
                      .size = sizes == nullptr ? 0 : TRY(sizes->of(store, about.id)),
                      .exclusive = checkpoint.measured.exclusive.value_or(UINT64_MAX),
                      .state = std::string(store::name_of(checkpoint.state)),
                      .problem = checkpoint.measured.problem,
                      .kept_running = about.kept_running,
                      .pinned = checkpoint.pinned,
                      .trigger = about.trigger,
                      .this_boot = about.boot.empty() || about.boot == TRY(engine::boot_id()),
                      .information = store::information_of(checkpoint)};
}

} // namespace

Result<std::vector<DisplacedHome>> displaced_homes() {
    const store::Store store;
    std::vector<DisplacedHome> homes;
    for (auto &one : TRY(store.displaced_homes())) {
        const auto of = store.find(one.checkpoint);
        const bool needed = of && (of->pinned || store::is_under_way(*of, one));
        homes.push_back({.name = std::move(one.name),
                         .uid = one.uid,
                         .home = std::move(one.home.home),
                         .place = std::move(one.home.place),
                         .checkpoint = std::move(one.checkpoint),
                         .created = one.created,
                         .needed = needed});
    }
    return homes;
}

Result<uint64_t> Sizes::of(const store::Store &store, const std::string &id) {
    if (const auto known = known_.find(id); known != known_.end())
        return known->second;
    const auto size = TRY(store.size_of(id));
    known_.emplace(id, size);
    return size;
}

Result<std::vector<Checkpoint>> checkpoints(const store::Store &store, std::optional<uint32_t> of, Sizes *sizes) {
    const auto listed = TRY(of ? store.list_of(*of) : store.list());
    for (const auto &error : listed.unreadable)
        log_warning("leaving out of the list: {}", error.message());
    std::vector<Checkpoint> all;
    for (const auto &one : listed.checkpoints) {
        if (!is_shown(one.state))
            continue;
        auto found = shown(store, one, sizes);
        if (found)
            all.push_back(std::move(*found));
        else if (const auto now = store.find(one.about.id);
                 now && is_shown(now->state)) // else it was removed meanwhile
            log_warning("leaving out of the list: {}", found.error().message());
    }
    return all;
}

Result<Checkpoint> checkpoint(const std::string &id, Sizes *sizes) {
    const store::Store store;
    const auto found = TRY(store.find(id));
    if (!is_shown(found.state))
        return fail(ENOENT, "checkpoint {} is {}", id, store::name_of(found.state));
    return shown(store, found, sizes);
}

Result<> set_pinned(const std::string &id, bool pinned) {
    const store::Store store;
    const auto held = TRY(store.hold(id));
    return store.set_pinned(id, pinned);
}

Result<uint64_t> free_space() { return store::Store().free_space(); }

Result<std::string> new_checkpoint_id(const std::string &session) {
    constexpr size_t most = 64;
    auto of = session.substr(0, most);
    // The scopes of a user's manager have ids with bytes that no file name of ours has
    std::ranges::replace_if(
        of,
        [](char c) {
            return !store::is_id({&c, 1}) && c != '.';
        },
        '-');
    const auto base = fmt::format("{}-s{}", os::utc_date(std::time(nullptr), "%Y%m%d-%H%M%S"), of);
    const store::Store store;
    auto id = base;
    for (int more = 2;; more++) {
        const auto found = store.find(id);
        if (!found && found.error().code() == ENOENT)
            return id;
        if (!found && found.error().code() == EINVAL)
            return std::unexpected(found.error());
        id = fmt::format("{}-{}", base, more);
    }
}

Result<std::vector<Leftover>> leftovers() {
    const auto listed = TRY(store::Store().list());
    std::vector<Leftover> left;
    for (const auto &one : listed.checkpoints)
        if (!is_shown(one.state))
            left.push_back({.id = one.about.id, .uid = one.about.uid});
    return left;
}

} // namespace abey::daemon
