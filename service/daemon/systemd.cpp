// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/systemd.h"

#include <cstdlib>

namespace abey::daemon::systemd {
namespace {

constexpr const char *service = "org.freedesktop.systemd1";
constexpr const char *manager_path = "/org/freedesktop/systemd1";
constexpr const char *manager_interface = "org.freedesktop.systemd1.Manager";

Result<> call_for_unit(sd_bus *bus, const char *member, const std::string &unit) {
    auto message = TRY(bus::method_call(bus, service, manager_path, manager_interface, member));
    // "replace": a stop wins over the start that is under way
    TRY(bus::checked(::sd_bus_message_append(message.get(), "ss", unit.c_str(), "replace"), member));
    TRY_IN(bus::call(bus, message), "{}", unit);
    return {};
}

} // namespace

Result<> subscribe(sd_bus *bus) {
    auto message = TRY(bus::method_call(bus, service, manager_path, manager_interface, "Subscribe"));
    TRY_IN(bus::call(bus, message), "cannot subscribe to systemd's signals");
    return {};
}

Result<> start_unit(sd_bus *bus, const std::string &unit) { return call_for_unit(bus, "StartUnit", unit); }

Result<> stop_unit(sd_bus *bus, const std::string &unit) { return call_for_unit(bus, "StopUnit", unit); }

Result<> signal_unit(sd_bus *bus, const std::string &unit, int signal) {
    auto message = TRY(bus::method_call(bus, service, manager_path, manager_interface, "KillUnit"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "ssi", unit.c_str(), "main", signal), "KillUnit"));
    TRY_IN(bus::call(bus, message), "{}", unit);
    return {};
}

Result<State> unit_state(sd_bus *bus, const std::string &unit) {
    constexpr const char *interface = "org.freedesktop.systemd1.Unit";
    const auto path = unit_path(unit);
    // Asking for the object loads the unit when it is not: one that has never been started is "inactive", no error.
    const auto active = TRY_IN(bus::string_property(bus, service, path, interface, "ActiveState"), "{}", unit);
    bus::CallError error;
    sd_bus_message *raw = nullptr;
    uint32_t queued = 0;
    const char *queued_path = nullptr;
    int result = ::sd_bus_get_property(bus, service, path.c_str(), interface, "Job", error.get(), &raw, "(uo)");
    const bus::Message reply(raw);
    if (result >= 0)
        result = ::sd_bus_message_read(raw, "(uo)", &queued, &queued_path);
    if (result < 0)
        return fail(0, "{}: {}", unit, error.text(-result));
    if (queued != 0 || active == "activating" || active == "deactivating" || active == "reloading")
        return State::busy;
    return active == "active" ? State::up : State::down;
}

Result<std::string> status_text(sd_bus *bus, const std::string &unit) {
    return bus::string_property(bus, service, unit_path(unit), "org.freedesktop.systemd1.Service", "StatusText");
}

Result<std::vector<std::string>> command_lines(sd_bus *bus, const std::string &unit) {
    auto message = TRY(bus::method_call(bus, service, manager_path, manager_interface, "GetUnitProcesses"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", unit.c_str()), "GetUnitProcesses"));
    const auto reply = TRY_IN(bus::call(bus, message), "{}", unit);
    std::vector<std::string> lines;
    int result = ::sd_bus_message_enter_container(reply.get(), SD_BUS_TYPE_ARRAY, "(sus)");
    const char *command = nullptr;
    while (result >= 0 && (result = ::sd_bus_message_read(reply.get(), "(sus)", nullptr, nullptr, &command)) > 0)
        lines.emplace_back(command);
    TRY(bus::checked(result, "systemd's list of the processes of " + unit));
    return lines;
}

std::string unit_path(const std::string &unit) {
    char *encoded = nullptr;
    // Fails only when out of memory, or for a prefix that is no path.
    if (::sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit.c_str(), &encoded) < 0)
        std::abort();
    std::string path(encoded);
    std::free(encoded);
    return path;
}

Result<bus::Slot> on_job_removed(sd_bus *bus, sd_bus_message_handler_t handler, void *userdata) {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(
        ::sd_bus_match_signal(bus, &slot, service, manager_path, manager_interface, "JobRemoved", handler, userdata),
        "cannot watch systemd's jobs"));
    return bus::Slot(slot);
}

Result<bus::Slot> on_unit_changed(sd_bus *bus, const std::string &unit, sd_bus_message_handler_t handler,
                                  void *userdata) {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_match_signal(bus, &slot, service, unit_path(unit).c_str(),
                                           "org.freedesktop.DBus.Properties", "PropertiesChanged", handler, userdata),
                     "cannot watch unit " + unit));
    return bus::Slot(slot);
}

} // namespace abey::daemon::systemd
