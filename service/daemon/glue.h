// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What all handlers of bus calls share.
#pragma once

#include "daemon/answer.h"
#include "daemon/clients.h"
#include "daemon/options.h"
#include "dbus/bus.h"
#include "dbus/names.h"

#include <string>
#include <vector>

namespace abey::daemon {

// Sets the bus error of a refusal; what a handler returns then.
inline int set_error(sd_bus_error *error, const Refusal &refusal) {
    return ::sd_bus_error_set(error, refusal.name, bus::printable(refusal.text).c_str());
}

inline Answer<uid_t> caller_of(sd_bus_message *message) {
    auto uid = sender_uid(message);
    if (!uid)
        return refuse(bus::error::access_denied, "{}", uid.error().message());
    return *uid;
}

// Answers with an array of what has the signature `contents`, each of which `append(reply, one)` puts into it; a
// negative errno when that was not possible.
template <class List, class Append>
int answer_with_list(sd_bus_message *request, const char *contents, const List &all, const Append &append) {
    sd_bus_message *reply = nullptr;
    int result = ::sd_bus_message_new_method_return(request, &reply);
    const bus::Message owner(reply);
    if (result >= 0)
        result = ::sd_bus_message_open_container(reply, 'a', contents);
    for (auto one = all.begin(); result >= 0 && one != all.end(); ++one)
        result = append(reply, *one);
    if (result >= 0)
        result = ::sd_bus_message_close_container(reply);
    return result < 0 ? result : ::sd_bus_send(nullptr, reply, nullptr);
}

// A list of object paths as sd_bus_node_enumerator_t wants it.
int hand_over(const std::vector<std::string> &paths, char ***list);

// Reads an a{sv} of booleans and strings.
Answer<Options> read_options(sd_bus_message *message);

} // namespace abey::daemon
