// SPDX-License-Identifier: LGPL-2.1-or-later
//
// org.abeyance1.Checkpoint on the bus. The store is the only state: it is read anew for each call.
#include "daemon/glue.h"
#include "daemon/manager.h"

namespace abey::daemon {
namespace {

// What the caller may know of the checkpoint at this path.
Answer<Checkpoint> readable(sd_bus *bus, const char *path) {
    const auto id = bus::checkpoint_id(path);
    if (!id)
        return refuse(bus::error::no_such_checkpoint, "{}", id.error().message());
    auto *message = ::sd_bus_get_current_message(bus);
    if (message == nullptr)
        return refuse(bus::error::failed, "nobody asks");
    const auto caller = TRY(caller_of(message));
    auto found = checkpoint(*id);
    if (!found)
        return refuse(bus::error::no_such_checkpoint, "there is no checkpoint {}", *id);
    if (caller != 0 && found->uid != caller)
        return refuse(bus::error::access_denied, "checkpoint {} is not yours", *id);
    return std::move(*found);
}

int get_property(sd_bus *bus, const char *path, const char * /*interface*/, const char *property, sd_bus_message *reply,
                 void * /*userdata*/, sd_bus_error *error) {
    const auto found = readable(bus, path);
    if (!found)
        return set_error(error, found.error());
    const std::string_view name(property);
    const auto text = [&](const std::string &value) {
        return ::sd_bus_message_append(reply, "s", bus::printable(value).c_str());
    };
    if (name == "Id")
        return text(found->id);
    if (name == "User")
        return text(found->user);
    if (name == "Session")
        return text(found->session);
    if (name == "State")
        return text(found->state);
    if (name == "Information")
        return text(found->information);
    if (name == "UID")
        return ::sd_bus_message_append(reply, "u", found->uid);
    return ::sd_bus_message_append(reply, "t", name == "Size" ? found->size : found->created);
}

const sd_bus_vtable checkpoint_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Id", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("UID", "u", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("User", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Session", "s", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Created", "t", get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Size", "t", get_property, 0, 0),
    SD_BUS_PROPERTY("State", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("Information", "s", get_property, 0, 0),
    SD_BUS_VTABLE_END,
};

int find_checkpoint_object(sd_bus *bus, const char *path, const char * /*interface*/, void *userdata, void **found,
                           sd_bus_error *error) {
    const auto known = readable(bus, path);
    if (!known)
        return std::string_view(known.error().name) == bus::error::no_such_checkpoint ? 0
                                                                                      : set_error(error, known.error());
    *found = userdata;
    return 1;
}

} // namespace

Result<> Manager::export_checkpoints() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_add_fallback_vtable(bus_, &slot, bus::checkpoint_prefix, bus::checkpoint_interface,
                                                  checkpoint_vtable, find_checkpoint_object, this),
                     "cannot export the checkpoints"));
    slots_.emplace_back(slot);
    return {};
}

} // namespace abey::daemon
