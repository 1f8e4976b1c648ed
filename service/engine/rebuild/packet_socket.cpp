// SPDX-License-Identifier: LGPL-2.1-or-later
//
// packet(7) sockets.
#include "engine/rebuild/kinds.h"
#include "engine/socket_settings.h"

#include <algorithm>
#include <cstring>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>

namespace abey::rebuild {
namespace packet_socket {
namespace {

constexpr uint32_t most_times = 1000; // a membership, again and again
constexpr int most_heard = 100000;    // packets before it is bound

Result<int> device_number(const model::Bytes &name) {
    if (name.empty())
        return 0;
    const unsigned number = ::if_nametoindex(name.c_str());
    if (number == 0)
        return fail(errno, "there is no network device {} any more", name);
    return static_cast<int>(number);
}

Result<> set(const Fd &fd, int name, const void *value, size_t size, std::string_view what) {
    if (::setsockopt(fd.get(), SOL_PACKET, name, value, static_cast<socklen_t>(size)) < 0)
        return fail(errno, "cannot set {} of a packet socket again", what);
    return {};
}

Result<> set_number(const Fd &fd, int name, uint32_t value, std::string_view what) {
    return value == 0 ? Result<>() : set(fd, name, &value, sizeof value, what);
}

// A socket that was made for protocol 0 gets nothing before it is bound.
Result<> bind_again(const Fd &fd, const model::PacketSocket &saved) {
    if (saved.type == SOCK_PACKET) {
        if (saved.device.empty())
            return {};
        sockaddr address = {};
        address.sa_family = AF_PACKET;
        std::copy_n(saved.device.begin(), std::min(saved.device.size(), sizeof address.sa_data - 1), address.sa_data);
        if (::bind(fd.get(), &address, sizeof address) < 0)
            return fail(errno, "cannot bind a packet socket to {} again", saved.device);
        return {};
    }
    if (saved.protocol == 0 && saved.device.empty())
        return {};
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = static_cast<uint16_t>(saved.protocol);
    address.sll_ifindex = TRY(device_number(saved.device));
    if (::bind(fd.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0)
        return fail(errno, "cannot bind a packet socket to \"{}\" again", saved.device);
    return {};
}

Result<> join(const Fd &fd, const model::PacketMembership &membership) {
    struct { // struct packet_mreq_max of linux/if_packet.h, which is the kernel's own
        int device;
        unsigned short type, length;
        unsigned char address[32];
    } request = {};
    request.device = TRY(device_number(membership.device));
    request.type = static_cast<unsigned short>(membership.type);
    request.length = static_cast<unsigned short>(std::min(membership.address.size(), sizeof request.address));
    std::memcpy(request.address, membership.address.data(), request.length);
    for (uint32_t i = 0; i < std::min(membership.count, most_times); ++i)
        TRY(set(fd, PACKET_ADD_MEMBERSHIP, &request, sizeof request, "a membership"));
    return {};
}

Result<> make_ring(const Fd &fd, const model::PacketRing &saved, int version, int name) {
    if (saved.blocks == 0)
        return {};
    tpacket_req3 ring = {};
    ring.tp_block_size = saved.block_size;
    ring.tp_block_nr = saved.blocks;
    ring.tp_frame_size = saved.frame_size;
    ring.tp_frame_nr = saved.frames;
    ring.tp_retire_blk_tov = saved.timeout;
    ring.tp_sizeof_priv = saved.private_size;
    ring.tp_feature_req_word = saved.features;
    return set(fd, name, &ring, version == TPACKET_V3 ? sizeof ring : sizeof(tpacket_req), "a ring");
}

Result<Fd> create(Context & /*context*/, const model::OpenFile &file) {
    const auto &saved = std::get<model::PacketSocket>(file.payload);
    if (saved.type != SOCK_RAW && saved.type != SOCK_DGRAM && saved.type != SOCK_PACKET)
        return fail(EBADMSG, "the checkpoint has a packet socket of type {}", saved.type);
    const bool old = saved.type == SOCK_PACKET; // binding it changes the device alone
    Fd fd(::socket(AF_PACKET, saved.type | SOCK_CLOEXEC, old ? static_cast<int>(saved.protocol) : 0));
    if (!fd)
        return fail(errno, "cannot make a packet socket");
    TRY(engine::apply_settings(fd, saved.settings, engine::Moment::before_bind));
    TRY(set_number(fd, PACKET_VERSION, static_cast<uint32_t>(saved.version), "the version"));
    TRY(set_number(fd, PACKET_RESERVE, saved.reserve, "the reserve"));
    TRY(set_number(fd, PACKET_COPY_THRESH, saved.copy_threshold, "the threshold"));
    TRY(set_number(fd, PACKET_TIMESTAMP, saved.timestamp, "the time stamps"));
    TRY(engine::apply_settings(fd, saved.settings, engine::Moment::at_end)); // the filter, before packets come
    TRY(make_ring(fd, saved.receive_ring, saved.version, PACKET_RX_RING));
    TRY(make_ring(fd, saved.send_ring, saved.version, PACKET_TX_RING));
    for (const model::PacketMembership &membership : saved.memberships)
        TRY(join(fd, membership));
    TRY(bind_again(fd, saved));
    if (old) // it has heard all devices until now, and without the filter
        for (int i = 0; i < most_heard && ::recv(fd.get(), nullptr, 0, MSG_DONTWAIT) >= 0; ++i) {
        }
    TRY(set_number(fd, PACKET_FANOUT, saved.fanout, "the group"));
    return fd;
}

} // namespace
} // namespace packet_socket

Kind packet_socket_kind() {
    return {.name = "packet socket",
            .payload = payload_index<model::PacketSocket>(),
            .create = packet_socket::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
