// SPDX-License-Identifier: LGPL-2.1-or-later
//
// org.abeyance1.Checkpoint on the bus. The store is the only state: it is read anew for each call, once.
#include "daemon/glue.h"
#include "daemon/manager.h"

#include <algorithm>
#include <array>

namespace abey::daemon {
namespace {

// What the caller may know of the checkpoint at this path.
Answer<const Checkpoint *> readable(Manager &manager, sd_bus *bus, const char *path) {
    const auto id = bus::checkpoint_id(path);
    if (!id)
        return refuse(bus::error::no_such_checkpoint, "{}", id.error().message());
    auto *message = ::sd_bus_get_current_message(bus);
    if (message == nullptr)
        return refuse(bus::error::failed, "nobody asks");
    const auto caller = TRY(caller_of(message));
    const auto *found = manager.asked_for(message, *id);
    if (found == nullptr)
        return refuse(bus::error::no_such_checkpoint, "there is no checkpoint {}", *id);
    if (caller != 0 && found->uid != caller)
        return refuse(bus::error::access_denied, "checkpoint {} is not yours", *id);
    return found;
}

struct Property {
    std::string_view name;
    const char *type;
};
constexpr std::array properties{Property{"Id", "s"},         Property{"UID", "u"},         Property{"User", "s"},
                                Property{"Session", "s"},    Property{"Created", "t"},     Property{"Size", "t"},
                                Property{"Exclusive", "t"},  Property{"Problem", "s"},     Property{"State", "s"},
                                Property{"Pinned", "b"},     Property{"KeptRunning", "b"}, Property{"Trigger", "s"},
                                Property{"Information", "s"}};

int append_property(sd_bus_message *reply, const Checkpoint &checkpoint, std::string_view name) {
    const auto text = [&](const std::string &value) {
        return ::sd_bus_message_append(reply, "s", bus::printable(value).c_str());
    };
    const auto flag = [&](bool value) { return ::sd_bus_message_append(reply, "b", static_cast<int>(value)); };
    if (name == "Id")
        return text(checkpoint.id);
    if (name == "User")
        return text(checkpoint.user);
    if (name == "Session")
        return text(checkpoint.session);
    if (name == "State")
        return text(checkpoint.state);
    if (name == "Problem")
        return text(checkpoint.problem);
    if (name == "Exclusive")
        return ::sd_bus_message_append(reply, "t", checkpoint.exclusive);
    if (name == "Trigger")
        return text(checkpoint.trigger);
    if (name == "Information")
        return text(checkpoint.information);
    if (name == "Pinned")
        return flag(checkpoint.pinned);
    if (name == "KeptRunning")
        return flag(checkpoint.kept_running);
    if (name == "UID")
        return ::sd_bus_message_append(reply, "u", checkpoint.uid);
    return ::sd_bus_message_append(reply, "t", name == "Size" ? checkpoint.size : checkpoint.created);
}

// An a{sv} of those properties of a checkpoint that are wanted.
template <class Wanted> int append_properties(sd_bus_message *message, const Checkpoint &checkpoint, Wanted wanted) {
    int result = ::sd_bus_message_open_container(message, 'a', "{sv}");
    for (const auto &[name, type] : properties) {
        if (!wanted(name))
            continue;
        const auto open = [&](char kind, const char *contents) {
            if (result >= 0)
                result = ::sd_bus_message_open_container(message, kind, contents);
        };
        open('e', "sv");
        if (result >= 0)
            result = ::sd_bus_message_append(message, "s", std::string(name).c_str());
        open('v', type);
        if (result >= 0)
            result = append_property(message, checkpoint, name);
        for (int level = 0; level < 2; level++)
            if (result >= 0)
                result = ::sd_bus_message_close_container(message);
    }
    return result < 0 ? result : ::sd_bus_message_close_container(message);
}

int get_checkpoint_property(sd_bus *bus, const char *path, const char * /*interface*/, const char *property,
                            sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const auto found = readable(*static_cast<Manager *>(userdata), bus, path);
    return found ? append_property(reply, **found, property) : set_error(error, found.error());
}

const sd_bus_vtable checkpoint_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Id", "s", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("UID", "u", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("User", "s", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Session", "s", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Created", "t", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Size", "t", get_checkpoint_property, 0, 0),
    SD_BUS_PROPERTY("Exclusive", "t", get_checkpoint_property, 0, 0),
    SD_BUS_PROPERTY("State", "s", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Problem", "s", get_checkpoint_property, 0, 0),
    SD_BUS_PROPERTY("Pinned", "b", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("KeptRunning", "b", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Trigger", "s", get_checkpoint_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Information", "s", get_checkpoint_property, 0, 0),
    SD_BUS_VTABLE_END,
};

int find_checkpoint_object(sd_bus *bus, const char *path, const char * /*interface*/, void *userdata, void **found,
                           sd_bus_error *error) {
    const auto known = readable(*static_cast<Manager *>(userdata), bus, path);
    if (!known)
        return std::string_view(known.error().name) == bus::error::no_such_checkpoint ? 0
                                                                                      : set_error(error, known.error());
    *found = userdata;
    return 1;
}

// Whoever asks is shown what is theirs, and told of changes from now on.
int list_checkpoint_objects(sd_bus *bus, const char * /*path*/, void *userdata, char ***found, sd_bus_error *error) {
    auto *message = ::sd_bus_get_current_message(bus);
    if (message == nullptr)
        return 0;
    const auto caller = caller_of(message);
    if (!caller)
        return set_error(error, caller.error());
    auto &manager = *static_cast<Manager *>(userdata);
    manager.clients().remember(message, *caller);
    const auto visible = manager.visible_checkpoints(*caller);
    if (!visible)
        return set_error(error, visible.error());
    std::vector<std::string> paths;
    for (const auto &one : *visible)
        paths.push_back(bus::checkpoint_path(one.id));
    return hand_over(paths, found);
}

constexpr const char *object_manager = "org.freedesktop.DBus.ObjectManager";

} // namespace

const Checkpoint *Manager::asked_for(sd_bus_message *message, const std::string &id) {
    if (asked_.message.get() != message || asked_.id != id) {
        auto found = checkpoint(id, &sizes_);
        asked_ = {.message = bus::Message(::sd_bus_message_ref(message)),
                  .id = id,
                  .found = found ? std::optional(std::move(*found)) : std::nullopt};
    }
    return asked_.found ? &*asked_.found : nullptr;
}

void Manager::tell_of_checkpoint(const std::string &id, uid_t owner) const {
    sizes_.forget();
    const auto found = checkpoint(id, &sizes_);
    if (!found)
        return; // gone already
    clients_.send_from(bus::manager_path, object_manager, "InterfacesAdded", owner, [&](sd_bus_message *signal) {
        int result = ::sd_bus_message_append(signal, "o", bus::checkpoint_path(id).c_str());
        if (result >= 0)
            result = ::sd_bus_message_open_container(signal, 'a', "{sa{sv}}");
        if (result >= 0)
            result = ::sd_bus_message_open_container(signal, 'e', "sa{sv}");
        if (result >= 0)
            result = ::sd_bus_message_append(signal, "s", bus::checkpoint_interface);
        if (result >= 0)
            result = append_properties(signal, *found, [](std::string_view) { return true; });
        for (int level = 0; level < 2; level++)
            if (result >= 0)
                result = ::sd_bus_message_close_container(signal);
        return result;
    });
}

void Manager::tell_of_no_checkpoint(const std::string &id, uid_t owner) const {
    sizes_.forget();
    clients_.send_from(bus::manager_path, object_manager, "InterfacesRemoved", owner, [&](sd_bus_message *signal) {
        return ::sd_bus_message_append(signal, "oas", bus::checkpoint_path(id).c_str(), 1, bus::checkpoint_interface);
    });
}

void Manager::tell_of_change(const std::string &id, uid_t owner, std::initializer_list<const char *> changed) const {
    const auto found = checkpoint(id);
    if (!found)
        return;
    clients_.send_from(bus::checkpoint_path(id), "org.freedesktop.DBus.Properties", "PropertiesChanged", owner,
                       [&](sd_bus_message *signal) {
                           int result = ::sd_bus_message_append(signal, "s", bus::checkpoint_interface);
                           if (result >= 0)
                               result = append_properties(signal, *found, [&](std::string_view name) {
                                   return std::ranges::find(changed, name) != changed.end();
                               });
                           return result < 0 ? result : ::sd_bus_message_append(signal, "as", 0);
                       });
}

Result<> Manager::export_checkpoints() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_add_node_enumerator(bus_, &slot, bus::checkpoint_prefix, list_checkpoint_objects, this),
                     "cannot list the checkpoints"));
    slots_.emplace_back(slot);
    TRY(bus::checked(::sd_bus_add_fallback_vtable(bus_, &slot, bus::checkpoint_prefix, bus::checkpoint_interface,
                                                  checkpoint_vtable, find_checkpoint_object, this),
                     "cannot export the checkpoints"));
    slots_.emplace_back(slot);
    return {};
}

} // namespace abey::daemon
