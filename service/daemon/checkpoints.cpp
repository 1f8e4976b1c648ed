// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/checkpoints.h"

#include "daemon/log.h"
#include "store/store.h"

#include <nlohmann/json.hpp>

namespace abey::daemon {
namespace {

bool is_shown(store::State state) { return state == store::State::waiting || state == store::State::resumed; }

std::string information_of(const store::Checkpoint &checkpoint) {
    const auto &about = checkpoint.about;
    nlohmann::json information{
        {"home", about.home}, {"service", about.service}, {"tty", about.tty}, {"figures", checkpoint.figures}};
    if (checkpoint.home)
        information["snapshot"] = {{"provider", checkpoint.home->provider}, {"place", checkpoint.home->place}};
    return information.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<Checkpoint> shown(const store::Store &store, const store::Checkpoint &checkpoint) {
    const auto &about = checkpoint.about;
    return Checkpoint{.id = about.id,
                      .uid = about.uid,
                      .user = about.user,
                      .session = about.session,
                      .created = about.created,
                      .size = TRY(store.size_of(about.id)),
                      .state = std::string(store::name_of(checkpoint.state)),
                      .information = information_of(checkpoint)};
}

} // namespace

Result<std::vector<Checkpoint>> checkpoints() {
    const store::Store store;
    const auto listed = TRY(store.list());
    for (const auto &error : listed.unreadable)
        log_warning("leaving out of the list: {}", error.message());
    std::vector<Checkpoint> all;
    for (const auto &one : listed.checkpoints)
        if (is_shown(one.state))
            all.push_back(TRY(shown(store, one)));
    return all;
}

Result<Checkpoint> checkpoint(const std::string &id) {
    const store::Store store;
    const auto found = TRY(store.find(id));
    if (!is_shown(found.state))
        return fail(ENOENT, "checkpoint {} is {}", id, store::name_of(found.state));
    return shown(store, found);
}

} // namespace abey::daemon
