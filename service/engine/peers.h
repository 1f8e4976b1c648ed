// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the engine asks of whoever knows about policies: what becomes of a connection whose other end is outside, and of
// devices.
#pragma once

#include "engine/model/inet_socket.h"
#include "engine/os/inet_address.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace abey::engine {

struct PeerChoice {
    model::PeerAction action = model::PeerAction::hangup;
    model::PeerAction otherwise = model::PeerAction::fail; // when it is `keep`, and that is not possible
    std::string rule;                                      // for people: "/etc/abeyance/policy.toml:12"
};

// By the address of the other end.
using PeerPolicy = std::function<PeerChoice(const os::InetAddress &remote)>;

// By the name of a unix socket outside: its path, "@name" of an abstract one, "" of one without a name. Never `keep`.
using UnixPeerPolicy = std::function<PeerChoice(std::string_view name)>;

// What becomes of a device that cannot be kept: the suspend is refused, the device is gone after the resume (network
// devices), something else takes its place (terminals).
enum class DeviceAction : uint8_t { fail, drop, replace };

struct DeviceChoice {
    std::optional<DeviceAction> action; // none: as is built in for its kind
    std::string rule;                   // for people
};

// By the device's path.
using DevicePolicy = std::function<DeviceChoice(std::string_view path)>;

} // namespace abey::engine
