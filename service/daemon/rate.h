// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How often a user may have something done: a bucket that refills evenly, each minute by as much as it holds. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

namespace abey::daemon {

class Rate {
  public:
    // Takes one from the user's bucket; false when it is empty. `now`: microseconds of a clock that never goes back.
    bool take(uint32_t uid, uint64_t per_minute, uint64_t now) {
        constexpr double minute = 60e6; // microseconds
        const auto full = static_cast<double>(per_minute);
        forget_the_idle(now);
        auto &bucket = buckets_.try_emplace(uid, Bucket{.left = full, .seen = now}).first->second;
        bucket.left = std::min(full, bucket.left + full * static_cast<double>(now - bucket.seen) / minute);
        bucket.seen = now;
        if (bucket.left < 1)
            return false;
        bucket.left -= 1;
        return true;
    }

  private:
    struct Bucket {
        double left = 0;
        uint64_t seen = 0;
    };

    // Full again by then: nothing is lost, and the map stays as small as the number of users of a minute.
    void forget_the_idle(uint64_t now) {
        constexpr uint64_t minute = 60'000'000;
        std::erase_if(buckets_, [&](const auto &one) { return now - one.second.seen > minute; });
    }

    std::map<uint32_t, Bucket> buckets_;
};

} // namespace abey::daemon
