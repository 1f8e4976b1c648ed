// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The properties of all checkpoints, by one call (org.freedesktop.DBus.ObjectManager).
#include "ctl/client.h"
#include "dbus/names.h"

#include <algorithm>

namespace abey::ctl {
namespace {

constexpr const char *described = "answer of GetManagedObjects";

Result<bool> enter(sd_bus_message *message, char kind, const char *contents) {
    return TRY(bus::checked(::sd_bus_message_enter_container(message, kind, contents), described)) > 0;
}

Result<> leave(sd_bus_message *message) {
    TRY(bus::checked(::sd_bus_message_exit_container(message), described));
    return {};
}

Result<> read_one(sd_bus_message *message, std::string_view name, CheckpointEntry &entry) {
    const char *text = nullptr;
    int flag = 0;
    uint64_t number = 0;
    if (name == "Exclusive") {
        TRY(bus::checked(::sd_bus_message_read(message, "v", "t", &number), described));
        if (number != UINT64_MAX)
            entry.exclusive = number;
    } else if (name == "Pinned" || name == "KeptRunning") {
        TRY(bus::checked(::sd_bus_message_read(message, "v", "b", &flag), described));
        (name == "Pinned" ? entry.pinned : entry.kept_running) = flag != 0;
    } else if (name == "Problem" || name == "Trigger") {
        TRY(bus::checked(::sd_bus_message_read(message, "v", "s", &text), described));
        (name == "Problem" ? entry.problem : entry.trigger) = text;
    } else {
        TRY(bus::checked(::sd_bus_message_skip(message, "v"), described));
    }
    return {};
}

Result<> read_properties(sd_bus_message *message, CheckpointEntry &entry) {
    TRY(enter(message, 'a', "{sv}"));
    while (TRY(enter(message, 'e', "sv"))) {
        const char *name = nullptr;
        TRY(bus::checked(::sd_bus_message_read(message, "s", &name), described));
        TRY(read_one(message, name, entry));
        TRY(leave(message));
    }
    return leave(message);
}

} // namespace

Result<> Client::describe(std::vector<CheckpointEntry> &entries) {
    const auto message = TRY(bus::method_call(bus_.get(), bus::service_name, bus::manager_path,
                                              "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"));
    const auto answer = TRY(ask(message));
    auto *reply = answer.get();
    TRY(enter(reply, 'a', "{oa{sa{sv}}}"));
    while (TRY(enter(reply, 'e', "oa{sa{sv}}"))) {
        const char *path = nullptr;
        TRY(bus::checked(::sd_bus_message_read(reply, "o", &path), described));
        const auto found = std::ranges::find(entries, path, &CheckpointEntry::path);
        TRY(enter(reply, 'a', "{sa{sv}}"));
        while (TRY(enter(reply, 'e', "sa{sv}"))) {
            const char *interface = nullptr;
            TRY(bus::checked(::sd_bus_message_read(reply, "s", &interface), described));
            if (found != entries.end() && std::string_view(interface) == bus::checkpoint_interface)
                TRY(read_properties(reply, *found));
            else
                TRY(bus::checked(::sd_bus_message_skip(reply, "a{sv}"), described));
            TRY(leave(reply));
        }
        TRY(leave(reply));
        TRY(leave(reply));
    }
    return {};
}

} // namespace abey::ctl
