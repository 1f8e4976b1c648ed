// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The properties of checkpoints. Not all by one call (GetManagedObjects): that fails when one of them is removed
// meanwhile.
#include "ctl/client.h"
#include "dbus/names.h"

#include <string_view>

namespace abey::ctl {
namespace {

constexpr const char *described = "answer of GetAll";

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

bool is_gone(const std::string &error) {
    return error == bus::error::no_such_checkpoint || error.starts_with("org.freedesktop.DBus.Error.Unknown");
}

} // namespace

Result<> Client::describe(std::vector<CheckpointEntry> &entries) {
    for (auto &entry : entries) {
        const auto message = TRY(
            bus::method_call(bus_.get(), bus::service_name, entry.path, "org.freedesktop.DBus.Properties", "GetAll"));
        TRY(bus::checked(::sd_bus_message_append(message.get(), "s", bus::checkpoint_interface), described));
        std::string error;
        const auto answer = bus::call(bus_.get(), message, &error);
        if (!answer && is_gone(error))
            continue;
        if (!answer)
            return std::unexpected(answer.error());
        TRY(read_properties(answer->get(), entry));
    }
    return {};
}

} // namespace abey::ctl
