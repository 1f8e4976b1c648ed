// SPDX-License-Identifier: LGPL-2.1-or-later
//
// packet(7) sockets. Memberships and rings are told by sock_diag(7) alone (net/packet/diag.c).
#include "engine/capture/inet_queue.h"
#include "engine/capture/inet_socket.h"
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"
#include "engine/os/sock_diag.h"
#include "engine/socket_settings.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <sys/socket.h>

namespace abey::capture {
namespace packet_socket {
namespace {

// Context::state
struct PacketSockets {
    engine::NewSocketOptions new_sockets;
};

bool matches(const Seen &seen) {
    return S_ISSOCK(seen.stat.st_mode) && (seen.flags & O_PATH) == 0 &&
           engine::int_option(*seen.file, SOL_SOCKET, SO_DOMAIN).value_or(-1) == AF_PACKET;
}

Result<model::Bytes> device_name(uint32_t number) {
    if (number == 0)
        return model::Bytes();
    std::array<char, IF_NAMESIZE> name = {};
    if (::if_indextoname(number, name.data()) == nullptr)
        return fail(errno, "it is bound to network device {}, which is gone; end the program that holds it", number);
    return model::Bytes(name.data());
}

void get_ring(std::span<const std::byte> bytes, model::PacketRing &ring) {
    if (const auto seen = os::first_of<packet_diag_ring>(bytes))
        ring = {.block_size = seen->pdr_block_size,
                .blocks = seen->pdr_block_nr,
                .frame_size = seen->pdr_frame_size,
                .frames = seen->pdr_frame_nr,
                .timeout = seen->pdr_retire_tmo,
                .private_size = seen->pdr_sizeof_priv,
                .features = seen->pdr_features};
}

Result<> get_attribute(uint32_t type, std::span<const std::byte> bytes, model::PacketSocket &socket) {
    switch (type) {
    case PACKET_DIAG_INFO: {
        const auto info = os::first_of<packet_diag_info>(bytes).value_or(packet_diag_info{});
        socket.version = static_cast<int32_t>(info.pdi_version);
        socket.reserve = info.pdi_reserve;
        socket.copy_threshold = info.pdi_copy_thresh;
        socket.timestamp = info.pdi_tstamp;
        socket.device = TRY(device_name(info.pdi_index));
        break;
    }
    case PACKET_DIAG_MCLIST:
        for (; bytes.size() >= sizeof(packet_diag_mclist); bytes = bytes.subspan(sizeof(packet_diag_mclist))) {
            const auto one = os::first_of<packet_diag_mclist>(bytes).value_or(packet_diag_mclist{});
            const size_t length = std::min<size_t>(one.pdmc_alen, sizeof one.pdmc_addr);
            socket.memberships.push_back({.device = TRY(device_name(one.pdmc_index)),
                                          .type = one.pdmc_type,
                                          .count = one.pdmc_count,
                                          .address = {reinterpret_cast<const char *>(one.pdmc_addr), length}});
        }
        break;
    case PACKET_DIAG_RX_RING:
        get_ring(bytes, socket.receive_ring);
        break;
    case PACKET_DIAG_TX_RING:
        get_ring(bytes, socket.send_ring);
        break;
    default:
        break;
    }
    return {};
}

Result<> ask_diag(uint64_t inode, model::PacketSocket &socket) {
    packet_diag_req request = {};
    request.sdiag_family = AF_PACKET;
    request.pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG;
    bool found = false;
    const os::DiagMessage look = [&](std::span<const std::byte> payload) -> Result<> {
        const auto message = os::first_of<packet_diag_msg>(payload);
        if (!message || message->pdiag_ino != inode)
            return {};
        found = true;
        socket.protocol = htons(message->pdiag_num);
        return os::each_diag_attribute(
            payload, sizeof *message,
            [&socket](unsigned type, std::span<const std::byte> value) { return get_attribute(type, value, socket); });
    };
    TRY_IN(os::ask_sock_diag(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, std::as_bytes(std::span(&request, 1)), look),
           "packet sockets");
    if (!found)
        return fail(ENOENT, "the kernel does not list it (sock_diag)");
    return {};
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const Fd &file = *seen.file;
    if (!TRY(engine::is_in_our_network(file)))
        return refuse_other_network();
    model::PacketSocket socket;
    socket.type = TRY(engine::int_option(file, SOL_SOCKET, SO_TYPE));
    socket.settings = TRY(engine::read_settings(file, context.state<PacketSockets>().new_sockets));
    TRY(ask_diag(seen.stat.st_ino, socket));
    socket.fanout = static_cast<uint32_t>(engine::int_option(file, SOL_PACKET, PACKET_FANOUT).value_or(0));
    const uint32_t way = (socket.fanout >> 16U) & 0xffU;
    if (socket.fanout != 0 && (way == PACKET_FANOUT_CBPF || way == PACKET_FANOUT_EBPF))
        return fail(0,
                    "a packet socket that shares its work by a program in BPF cannot be brought back; end the program "
                    "that holds it");
    return socket;
}

Result<> complete(Context &context) {
    for (const auto &[id, file] : context.tree.open_files)
        if (std::holds_alternative<model::PacketSocket>(file.payload)) {
            const auto &entry = context.state<OpenFiles>().held(id);
            if (has_unread(entry.file))
                context.findings.push_back(socket_finding(entry.seen, "packets that are unread in it are lost"));
        }
    return {};
}

} // namespace
} // namespace packet_socket

Kind packet_socket_kind() {
    return {.name = "packet socket",
            .matches = packet_socket::matches,
            .capture = packet_socket::capture,
            .complete = packet_socket::complete,
            .held = true};
}

} // namespace abey::capture
