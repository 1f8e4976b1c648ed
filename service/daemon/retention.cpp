// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/retention.h"

#include "engine/os/human_size.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

namespace abey::daemon {
namespace {

// What a session that ran on left: it may be removed without losing the session.
bool is_insurance(const Checkpoint &one) { return one.kept_running && one.state == "waiting" && !one.pinned; }

std::string in_words(uint64_t seconds) {
    constexpr uint64_t day = 86400;
    constexpr uint64_t hour = 3600;
    if (seconds % day == 0)
        return fmt::format("{} days", seconds / day);
    return seconds % hour == 0 ? fmt::format("{} h", seconds / hour) : fmt::format("{} s", seconds);
}

template <class T> bool is_older(const T &one, uint64_t seconds, uint64_t now) {
    return seconds != policy::never && one.created < now && (now - one.created) / 1'000'000 >= seconds;
}

} // namespace

std::vector<Pruned> to_prune(std::span<const Checkpoint> checkpoints, const policy::Retention &rules, uint64_t now,
                             uint64_t free, const std::map<uint32_t, policy::Retention> &of_users) {
    std::vector<Pruned> pruned;
    std::set<std::string> gone;
    const auto drop = [&](const Checkpoint &one, std::string reason) {
        if (!gone.insert(one.id).second)
            return;
        free += one.size;
        pruned.push_back({.id = one.id, .uid = one.uid, .reason = std::move(reason)});
    };
    const auto of = [&](const Checkpoint &one) {
        const auto found = of_users.find(one.uid);
        return found == of_users.end() ? rules : found->second;
    };
    std::map<uint32_t, uint64_t> counts;
    for (auto one = checkpoints.rbegin(); one != checkpoints.rend(); ++one)
        if (const auto kept = of(*one).checkpoints; is_insurance(*one) && ++counts[one->uid] > kept)
            drop(*one, fmt::format("{} younger ones are kept", kept));
    for (const auto &one : checkpoints) {
        if (const auto most = of(one).max_age; is_insurance(one) && is_older(one, most, now))
            drop(one, "older than " + in_words(most));
        if (const auto most = of(one).suspended_max_age;
            !one.kept_running && !one.pinned && one.state == "waiting" && is_older(one, most, now))
            drop(one, "older than " + in_words(most));
    }
    for (const auto &one : checkpoints)
        if (const auto least = of(one).min_free; free < least && is_insurance(one))
            drop(one, fmt::format("less than {} are free", os::human_size(least)));
    return pruned;
}

std::vector<Pruned> to_prune(std::span<const DisplacedHome> homes, const policy::Retention &rules, uint64_t now,
                             const std::map<uint32_t, policy::Retention> &of_users) {
    std::vector<Pruned> pruned;
    std::map<uint32_t, uint64_t> counts;
    for (auto one = homes.rbegin(); one != homes.rend(); ++one) {
        const auto found = of_users.find(one->uid);
        const auto &own = found == of_users.end() ? rules : found->second;
        if (one->needed)
            continue;
        std::string reason;
        if (++counts[one->uid] > own.displaced)
            reason = fmt::format("{} younger ones are kept", own.displaced);
        else if (is_older(*one, own.displaced_max_age, now))
            reason = "older than " + in_words(own.displaced_max_age);
        if (!reason.empty())
            pruned.push_back({.id = one->place, .uid = one->uid, .reason = reason, .displaced = one->name});
    }
    std::ranges::reverse(pruned);
    return pruned;
}

} // namespace abey::daemon
