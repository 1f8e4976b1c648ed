// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The kinds there are, each in a file of its own; kinds.cpp puts them in order.
#pragma once

#include "engine/capture/kind.h"

namespace abey::capture {

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
Kind terminal_kind();
Kind file_watches_kind();
Kind file_marks_kind();
Kind packet_socket_kind();
Kind process_handle_kind();
Kind process_file_kind();
Kind namespace_file_kind();
Kind message_queue_kind();
Kind system_v_kind();

struct Refused {
    std::string_view link; // what the link begins with
    std::string_view reason;
    std::string_view advice;
};
// What is refused for what /proc shows its file as, open or mapped; null: nothing of the kind.
const Refused *refused_by_link(std::string_view link);

// Why something that no kind matches cannot be brought back: "reason; advice".
Error refusal(const Seen &seen);

} // namespace abey::capture
