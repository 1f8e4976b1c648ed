// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Users in turn: where there is no time for all, nobody's many sessions come before another's first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace abey::daemon {

// By rank_of(one), and within a rank the first of each user, then the second of each, and so on; otherwise as they
// came.
template <class One, class RankOf, class UserOf>
std::deque<One> in_turns(std::deque<One> all, RankOf rank_of, UserOf user_of) {
    using Rank = decltype(rank_of(all.front()));
    std::map<std::pair<Rank, uid_t>, size_t> counts;
    std::vector<std::tuple<Rank, size_t, size_t>> order; // rank, turn, place
    for (size_t place = 0; place < all.size(); place++) {
        const auto rank = rank_of(all[place]);
        order.emplace_back(rank, counts[{rank, user_of(all[place])}]++, place);
    }
    std::ranges::sort(order);
    std::deque<One> turns;
    for (const auto &[rank, turn, place] : order)
        turns.push_back(std::move(all[place]));
    return turns;
}

} // namespace abey::daemon
