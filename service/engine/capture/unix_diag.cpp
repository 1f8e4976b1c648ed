// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/unix_diag.h"

#include "engine/os/sock_diag.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

namespace abey::capture {
namespace {

Result<> parse_attribute(unsigned type, std::span<const std::byte> data, UnixDiag &diag) {
    switch (type) {
    case UNIX_DIAG_NAME:
        diag.name.assign(reinterpret_cast<const char *>(data.data()), data.size());
        // a path ends at its NUL, an abstract name begins with one
        if (!diag.name.empty() && diag.name.front() != '\0')
            diag.name.resize(std::min(diag.name.find('\0'), diag.name.size()));
        break;
    case UNIX_DIAG_VFS:
        if (const auto vfs = os::first_of<unix_diag_vfs>(data))
            diag.vfs_inode = vfs->udiag_vfs_ino;
        break;
    case UNIX_DIAG_PEER:
        diag.peer = os::first_of<uint32_t>(data);
        break;
    case UNIX_DIAG_ICONS:
        for (; data.size() >= sizeof(uint32_t); data = data.subspan(sizeof(uint32_t)))
            diag.pending.push_back(os::first_of<uint32_t>(data).value_or(0));
        break;
    case UNIX_DIAG_RQLEN:
        if (const auto queues = os::first_of<unix_diag_rqlen>(data)) {
            diag.read_queue = queues->udiag_rqueue;
            diag.write_queue = queues->udiag_wqueue;
        }
        break;
    case UNIX_DIAG_SHUTDOWN:
        diag.shutdown = os::first_of<uint8_t>(data).value_or(0);
        break;
    default:
        break;
    }
    return {};
}

Result<UnixDiag> parse_socket(std::span<const std::byte> payload) {
    const auto message = os::first_of<unix_diag_msg>(payload);
    if (!message)
        return fail(EPROTO, "sock_diag: a message about a socket is too short");
    UnixDiag diag;
    diag.number = message->udiag_ino;
    diag.type = message->udiag_type;
    diag.state = message->udiag_state;
    TRY_IN(os::each_diag_attribute(
               payload, sizeof *message,
               [&diag](unsigned type, std::span<const std::byte> value) { return parse_attribute(type, value, diag); }),
           "socket {}", diag.number);
    return diag;
}

Result<> add_socket(std::span<const std::byte> payload, UnixDiags &diags) {
    auto diag = TRY(parse_socket(payload));
    if (const uint32_t number = diag.number; number != 0)
        diags.insert_or_assign(number, std::move(diag));
    return {};
}

} // namespace

Result<bool> parse_unix_diag(std::span<const std::byte> datagram, UnixDiags &diags) {
    return os::each_diag_message(datagram,
                                 [&diags](std::span<const std::byte> payload) { return add_socket(payload, diags); });
}

Result<UnixDiags> dump_unix_sockets() {
    unix_diag_req request = {};
    request.sdiag_family = AF_UNIX;
    request.udiag_states = ~0U;
    request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
    UnixDiags diags;
    TRY_IN(os::ask_sock_diag(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, std::as_bytes(std::span(&request, 1)),
                             [&diags](std::span<const std::byte> payload) { return add_socket(payload, diags); }),
           "unix sockets");
    return diags;
}

} // namespace abey::capture
