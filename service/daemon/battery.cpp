// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/battery.h"

#include <string_view>

namespace abey::daemon {
namespace {

constexpr const char *upower_name = "org.freedesktop.UPower";
constexpr const char *display_path = "/org/freedesktop/UPower/devices/DisplayDevice";
constexpr const char *device_interface = "org.freedesktop.UPower.Device";
constexpr const char *level_property = "WarningLevel";
constexpr const char *properties_interface = "org.freedesktop.DBus.Properties";

} // namespace

Result<> Battery::start() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_match_signal(bus_, &slot, upower_name, display_path, properties_interface,
                                           "PropertiesChanged", on_changed, this),
                     "cannot watch the battery"));
    changes_.reset(slot);
    // It may have been low for a while.
    const auto question = TRY(bus::method_call(bus_, upower_name, display_path, properties_interface, "Get"));
    TRY(bus::checked(::sd_bus_message_append(question.get(), "ss", device_interface, level_property), "battery"));
    TRY(bus::checked(::sd_bus_message_set_auto_start(question.get(), 0), "battery"));
    TRY(bus::checked(::sd_bus_call_async(bus_, &slot, question.get(), on_answer, this, 0),
                     "cannot ask for the battery"));
    asking_.reset(slot);
    return {};
}

void Battery::take(uint32_t level) {
    if (state_.on_level(level))
        on_low_();
}

int Battery::on_answer(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    uint32_t level = 0;
    if (::sd_bus_message_get_error(message) == nullptr && ::sd_bus_message_read(message, "v", "u", &level) >= 0)
        static_cast<Battery *>(userdata)->take(level);
    return 0;
}

int Battery::on_changed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    const char *interface = nullptr;
    if (::sd_bus_message_read(message, "s", &interface) < 0 || std::string_view(interface) != device_interface ||
        ::sd_bus_message_enter_container(message, 'a', "{sv}") < 0)
        return 0;
    while (::sd_bus_message_enter_container(message, 'e', "sv") > 0) {
        const char *property = nullptr;
        uint32_t level = 0;
        if (::sd_bus_message_read(message, "s", &property) < 0)
            return 0;
        if (std::string_view(property) == level_property) {
            if (::sd_bus_message_read(message, "v", "u", &level) < 0)
                return 0;
            static_cast<Battery *>(userdata)->take(level);
        } else if (::sd_bus_message_skip(message, "v") < 0) {
            return 0;
        }
        if (::sd_bus_message_exit_container(message) < 0)
            return 0;
    }
    return 0;
}

} // namespace abey::daemon
