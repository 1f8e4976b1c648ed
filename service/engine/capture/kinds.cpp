// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/kinds.h"

#include <array>

namespace abey::capture {

std::span<const Kind> kinds() {
    // Shared memory, queues and what processes show before files on disk: all are regular files.
    static const std::array all = {
        pipe_kind(),          unix_socket_kind(),    terminal_kind(),        device_kind(),
        shared_memory_kind(), message_queue_kind(),  process_file_kind(),    disk_file_kind(),
        event_counter_kind(), poll_set_kind(),       signal_receiver_kind(), timer_file_kind(),
        inet_socket_kind(),   netlink_socket_kind(), packet_socket_kind(),   file_watches_kind(),
        file_marks_kind(),    process_handle_kind(), namespace_file_kind(),  system_v_kind(),
    };
    return all;
}

} // namespace abey::capture
