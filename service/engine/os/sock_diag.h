// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Questions to the kernel about sockets: sock_diag(7), netlink(7).
#pragma once

#include "engine/os/result.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>

namespace abey::os {

// The structure that bytes begin with; nothing when they are too few.
template <class T> std::optional<T> first_of(std::span<const std::byte> bytes) {
    if (bytes.size() < sizeof(T))
        return std::nullopt;
    T value = {};
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

using DiagMessage = std::function<Result<>(std::span<const std::byte> payload)>;
using DiagAttribute = std::function<Result<>(unsigned type, std::span<const std::byte> value)>;

// Calls `visit` for each socket in one datagram of an answer; true when the answer's end was in it.
Result<bool> each_diag_message(std::span<const std::byte> datagram, const DiagMessage &visit);

// Of a payload, the attributes that follow its own structure of `fixed` bytes.
Result<> each_diag_attribute(std::span<const std::byte> payload, size_t fixed, const DiagAttribute &visit);

// Asks about sockets of our network namespace. `type`: SOCK_DIAG_BY_FAMILY or SOCK_DESTROY; `flags`: NLM_F_DUMP or
// NLM_F_ACK; `request`: what follows netlink's header. The error's code is the kernel's.
Result<> ask_sock_diag(uint16_t type, uint16_t flags, std::span<const std::byte> request, const DiagMessage &visit);

} // namespace abey::os
