// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a policy says about the service: when it acts by itself, what it keeps, what users may take. docs/POLICY.md
// tells what each means.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace abey::policy {

// What an event makes of a session.
enum class Act : uint8_t { nothing, checkpoint, suspend };

inline constexpr uint64_t never = UINT64_MAX;

struct Triggers {
    Act on_sleep = Act::checkpoint;
    Act on_shutdown = Act::suspend;
    Act on_lock = Act::nothing;
    Act on_idle = Act::nothing;
    Act on_battery_low = Act::checkpoint;
    uint64_t idle_after = 30UL * 60; // seconds
    std::vector<std::string> first;  // login names: their sessions come before those of others when time is short
    std::vector<std::string> units; // patterns (glob(7)) for scopes of users' managers, which are treated like sessions
    bool operator==(const Triggers &) const = default;
};

struct Retention {
    uint64_t checkpoints = 3;           // for each user, of sessions that ran on
    uint64_t max_age = 30ULL * 86400;   // seconds, the same; never: any
    uint64_t suspended_max_age = never; // seconds, of suspended sessions
    uint64_t min_free = 1ULL << 30U;    // bytes
    uint64_t displaced = never;         // homes that resumes have displaced, for each user; never: any number
    uint64_t displaced_max_age = never; // seconds, the same
    bool operator==(const Retention &) const = default;
};

struct UserLimits {
    uint64_t checkpoints = 16;      // of a user, waiting or being made
    uint64_t size = 64ULL << 30U;   // bytes that they take
    uint64_t jobs_per_minute = 30;  // that a user may start
    uint64_t application_delay = 5; // seconds that a suspend waits for applications; 0: it does not
    bool operator==(const UserLimits &) const = default;
};

// What is taken in place of a graphical session, which cannot be suspended itself.
enum class GraphicalScope : uint8_t { nothing, terminal_sessions, units };

struct Graphical {
    GraphicalScope scope = GraphicalScope::nothing;
    std::vector<std::string> units; // patterns (glob(7)) for scopes and services of its user's manager
    bool operator==(const Graphical &) const = default;
};

struct ServiceRules {
    Graphical graphical;
    Triggers triggers;
    Retention retention;
    UserLimits user_limits;
    bool operator==(const ServiceRules &) const = default;
};

} // namespace abey::policy
