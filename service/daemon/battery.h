// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The battery as UPower tells of it (org.freedesktop.UPower.Device, the DisplayDevice: all batteries as one). Where
// there is no UPower nothing is ever told; it is not started for our sake.
#pragma once

#include "dbus/bus.h"
#include "engine/os/result.h"

#include <cstdint>
#include <functional>
#include <utility>

namespace abey::daemon {

// Tells when a battery that was not low is: once, however often that is signalled. Pure.
class LowOnce {
  public:
    // UPower's WarningLevel: 0 unknown, 1 none, 2 discharging (UPS), 3 low, 4 critical, 5 action.
    bool on_level(uint32_t level) {
        if (level == 0) // nothing is said about it
            return false;
        const bool low = level >= 3;
        return !std::exchange(low_, low) && low;
    }

  private:
    bool low_ = false;
};

class Battery {
  public:
    Battery(sd_bus *bus, std::function<void()> on_low) : bus_(bus), on_low_(std::move(on_low)) {}
    Battery(const Battery &) = delete;
    Battery &operator=(const Battery &) = delete;
    ~Battery() = default;

    Result<> start();

  private:
    void take(uint32_t level);
    static int on_changed(sd_bus_message *message, void *userdata, sd_bus_error *error);
    static int on_answer(sd_bus_message *message, void *userdata, sd_bus_error *error);

    sd_bus *bus_;
    std::function<void()> on_low_;
    LowOnce state_;
    bus::Slot changes_, asking_;
};

} // namespace abey::daemon
