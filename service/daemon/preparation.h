// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What logind's PrepareForSleep and PrepareForShutdown mean, which come as pairs of true and false, or twice, or one
// without the other. Pure.
#pragma once

#include <cstdint>

namespace abey::daemon {

class Preparation {
  public:
    enum class Step : uint8_t {
        ignore,
        begin, // it is about to happen: do what is to be done
        over,  // it has happened, or will not: be ready for the next
    };

    // `now`: microseconds of a clock that goes on during sleep (CLOCK_BOOTTIME).
    Step on_signal(bool begins, uint64_t now) {
        if (!begins) {
            state_ = State::idle;
            return Step::over;
        }
        // Done, and the other half of the pair has not come: the same signal once more, unless it is long ago, when
        // that other half was lost and this is a new one.
        if (state_ == State::working || (state_ == State::done && now - done_at_ < again))
            return Step::ignore;
        state_ = State::working;
        return Step::begin;
    }

    // What was begun is finished, well or not.
    void on_done(uint64_t now) {
        if (state_ != State::working)
            return;
        state_ = State::done;
        done_at_ = now;
    }

    [[nodiscard]] bool is_working() const { return state_ == State::working; }

  private:
    static constexpr uint64_t again = 30'000'000; // microseconds
    enum class State : uint8_t { idle, working, done };

    State state_ = State::idle;
    uint64_t done_at_ = 0;
};

} // namespace abey::daemon
