// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <cstring>
#include <optional>

namespace abey::model {

// In a queued signal (siginfo_t, sigaction(2)) that a POSIX timer has sent.
inline constexpr size_t timer_id_in_signal = 16, overrun_in_signal = 20;

// The id of the timer that has sent a queued signal; nothing: it is not one of a timer.
inline std::optional<int32_t> timer_of(const Bytes &info) {
    constexpr size_t code_at = 8;
    constexpr int32_t of_timer = -2; // SI_TIMER
    int32_t code = 0, id = 0;
    if (info.size() < overrun_in_signal + sizeof(int32_t))
        return std::nullopt;
    std::memcpy(&code, info.data() + code_at, sizeof code);
    std::memcpy(&id, info.data() + timer_id_in_signal, sizeof id);
    return code == of_timer ? std::optional(id) : std::nullopt;
}

} // namespace abey::model
