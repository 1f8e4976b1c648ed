// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/clients.h"

#include "dbus/names.h"

namespace abey::daemon {

Result<uid_t> sender_uid(sd_bus_message *message) {
    sd_bus_creds *raw = nullptr;
    TRY(bus::checked(::sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &raw), "cannot find out who calls"));
    const bus::Creds creds(raw);
    uid_t uid = 0;
    TRY(bus::checked(::sd_bus_creds_get_euid(creds.get(), &uid), "cannot find out who calls"));
    return uid;
}

Result<> Clients::start() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_match_signal(bus_, &slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                           "org.freedesktop.DBus", "NameOwnerChanged", on_name_owner_changed, this),
                     "cannot watch the names on the bus"));
    left_.reset(slot);
    return {};
}

void Clients::remember(sd_bus_message *message, uid_t uid) {
    const char *sender = ::sd_bus_message_get_sender(message);
    if (sender != nullptr)
        list_.add(sender, uid);
}

void Clients::send(const char *member, uid_t owner, const std::function<int(sd_bus_message *)> &append) const {
    send_from(bus::manager_path, bus::manager_interface, member, owner, append);
}

void Clients::send_from(const std::string &path, const char *interface, const char *member, uid_t owner,
                        const std::function<int(sd_bus_message *)> &append) const {
    for (const auto &[name, uid] : list_) {
        if (uid != 0 && uid != owner)
            continue;
        sd_bus_message *raw = nullptr;
        if (::sd_bus_message_new_signal(bus_, &raw, path.c_str(), interface, member) < 0)
            return;
        const bus::Message signal(raw);
        // A client that is about to leave misses it: no error of ours.
        if (append(raw) >= 0)
            (void)::sd_bus_send_to(bus_, raw, name.c_str(), nullptr);
    }
}

int Clients::on_name_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    const char *name = nullptr;
    const char *before = nullptr;
    const char *after = nullptr;
    if (::sd_bus_message_read(message, "sss", &name, &before, &after) >= 0 && *after == '\0')
        static_cast<Clients *>(userdata)->list_.remove(name);
    return 0;
}

} // namespace abey::daemon
