// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The clients that signals are sent to, each with the user behind it. Signals tell of sessions and the files in them,
// so they are sent one by one to those who may know, never to the whole bus.
#pragma once

#include "daemon/client_list.h"
#include "dbus/bus.h"
#include "engine/os/result.h"

#include <functional>
#include <string>

#include <sys/types.h>

namespace abey::daemon {

// The user of the peer that sent this message, as the bus knows it.
Result<uid_t> sender_uid(sd_bus_message *message);

class Clients {
  public:
    explicit Clients(sd_bus *bus) : bus_(bus) {}
    Clients(const Clients &) = delete;
    Clients &operator=(const Clients &) = delete;
    ~Clients() = default;

    Result<> start();
    // Remembers who sent this message until they leave the bus. One for whom there is no place gets answers, but no
    // signals.
    void remember(sd_bus_message *message, uid_t uid);

    // Sends a signal of the Manager to root's clients and to those of `owner`; `append` writes its arguments.
    void send(const char *member, uid_t owner, const std::function<int(sd_bus_message *)> &append) const;
    // The same, of any object and interface.
    void send_from(const std::string &path, const char *interface, const char *member, uid_t owner,
                   const std::function<int(sd_bus_message *)> &append) const;

  private:
    static int on_name_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error *error);

    sd_bus *bus_;
    bus::Slot left_;
    ClientList list_;
};

} // namespace abey::daemon
