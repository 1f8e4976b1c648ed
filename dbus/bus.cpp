// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dbus/bus.h"

#include <cstdlib>
#include <system_error>

namespace abey::bus {

Result<Bus> open_system() {
    sd_bus *bus = nullptr;
    if (const int result = ::sd_bus_open_system(&bus); result < 0)
        return fail(-result, "cannot connect to the system bus");
    return Bus(bus);
}

std::string CallError::text(int code) const {
    if (error_.message != nullptr && *error_.message != '\0')
        return error_.message;
    return error_.name != nullptr ? error_.name : std::generic_category().message(code);
}

Result<Message> method_call(sd_bus *bus, const char *destination, const std::string &path, const char *interface,
                            const char *member) {
    sd_bus_message *message = nullptr;
    TRY(checked(::sd_bus_message_new_method_call(bus, &message, destination, path.c_str(), interface, member), member));
    return Message(message);
}

Result<Message> call(sd_bus *bus, const Message &message, std::string *error_name, uint64_t timeout) {
    CallError error;
    sd_bus_message *reply = nullptr;
    if (const int result = ::sd_bus_call(bus, message.get(), timeout, error.get(), &reply); result < 0) {
        if (error_name != nullptr)
            *error_name = error.name();
        // code 0: the peer's text says it all, and the errno that sd-bus maps its name to would only repeat or mislead
        return fail(0, "{}", error.text(-result));
    }
    return Message(reply);
}

Result<int> checked(int result, std::string_view what) {
    if (result < 0)
        return fail(-result, "{}", what);
    return result;
}

Result<std::string> string_property(sd_bus *bus, const char *destination, const std::string &path,
                                    const char *interface, const char *name) {
    CallError error;
    char *value = nullptr;
    if (const int result =
            ::sd_bus_get_property_string(bus, destination, path.c_str(), interface, name, error.get(), &value);
        result < 0)
        return fail(0, "property {} of {}: {}", name, path, error.text(-result));
    std::string text(value);
    std::free(value);
    return text;
}

} // namespace abey::bus
