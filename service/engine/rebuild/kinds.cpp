// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/kinds.h"

#include <array>

namespace abey::rebuild {

std::span<const Kind> kinds() {
    // The order of fill(): unix sockets last, since what is in flight in them must be ready.
    static const std::array all = {
        disk_file_kind(),
        device_kind(),
        pipe_kind(),
        shared_memory_kind(),
        event_counter_kind(),
        poll_set_kind(),
        signal_receiver_kind(),
        timer_file_kind(),
        terminal_kind(),
        inet_socket_kind(),
        netlink_socket_kind(),
        packet_socket_kind(),
        process_handle_kind(),
        process_file_kind(),
        namespace_file_kind(),
        message_queue_kind(),
        unix_socket_kind(),
        // the last to finish: they must not see what the others do
        file_watches_kind(),
        file_marks_kind(),
    };
    return all;
}

} // namespace abey::rebuild
