// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The kinds there are, each in a file of its own; kinds.cpp puts them together.
#pragma once

#include "engine/rebuild/kind.h"

#include <type_traits>

namespace abey::rebuild {

Kind disk_file_kind();
Kind device_kind();
Kind pipe_kind();
Kind shared_memory_kind();
Kind event_counter_kind();
Kind poll_set_kind();
Kind signal_receiver_kind();
Kind timer_file_kind();
Kind unix_socket_kind();
Kind inet_socket_kind();
Kind netlink_socket_kind();
Kind packet_socket_kind();
Kind terminal_kind();
Kind file_watches_kind();
Kind file_marks_kind();
Kind process_handle_kind();
Kind process_file_kind();
Kind namespace_file_kind();
Kind message_queue_kind();

// Kind::late of kinds whose open files depend on nothing but themselves.
inline bool always_late(Context & /*context*/, const model::OpenFile & /*file*/) { return true; }

// The index of an alternative of model::Payload, for Kind::payload.
template <class T, size_t I = 0> constexpr size_t payload_index() {
    if constexpr (std::is_same_v<T, std::variant_alternative_t<I, model::Payload>>)
        return I;
    else
        return payload_index<T, I + 1>();
}

// What another object refers to; an image is input, so a reference may lead nowhere.
template <class T> Result<const T *> find(const std::map<model::ObjRef, T> &objects, model::ObjRef id) {
    const auto object = objects.find(id);
    if (object == objects.end())
        return fail(EBADMSG, "the checkpoint has no object {}", id);
    return &object->second;
}

} // namespace abey::rebuild
