// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/tcp_packet.h"

#include "engine/os/network_lock.h"

#include <cstring>

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

namespace abey::rebuild {
namespace {

constexpr uint8_t hops = 64;
constexpr int header_included_six = 36; // IPV6_HDRINCL, Linux 4.5

// RFC 1071
uint16_t checksum(std::string_view data) {
    uint32_t sum = 0;
    for (size_t i = 0; i < data.size(); i += 2) {
        const auto high = static_cast<uint8_t>(data[i]);
        const auto low = i + 1 < data.size() ? static_cast<uint8_t>(data[i + 1]) : uint8_t{0};
        sum += static_cast<uint32_t>(high << 8U | low);
    }
    while (sum >> 16U != 0)
        sum = (sum & 0xffffU) + (sum >> 16U);
    return htons(static_cast<uint16_t>(~sum));
}

template <class T> void append(std::string &to, const T &value) {
    to.append(reinterpret_cast<const char *>(&value), sizeof value);
}

std::string segment(const FromPeer &ends, uint32_t sequence, uint32_t acknowledged, PeerSends what) {
    tcphdr header = {};
    header.source = htons(ends.peer.port());
    header.dest = htons(ends.us.port());
    header.seq = htonl(sequence);
    header.ack_seq = htonl(acknowledged);
    header.doff = sizeof header / 4;
    header.ack = 1;
    header.fin = what == PeerSends::end ? 1 : 0;
    header.window = htons(UINT16_MAX);
    std::string summed = ends.peer.raw() + ends.us.raw(); // the pseudo header
    append(summed, htonl(sizeof header));
    append(summed, htonl(IPPROTO_TCP));
    append(summed, header);
    header.check = checksum(summed);
    return {reinterpret_cast<const char *>(&header), sizeof header};
}

std::string packet_four(const FromPeer &ends, const std::string &content) {
    iphdr header = {};
    header.version = 4;
    header.ihl = sizeof header / 4;
    header.tot_len = htons(static_cast<uint16_t>(sizeof header + content.size()));
    header.ttl = hops;
    header.protocol = IPPROTO_TCP;
    std::memcpy(&header.saddr, ends.peer.raw().data(), sizeof header.saddr);
    std::memcpy(&header.daddr, ends.us.raw().data(), sizeof header.daddr);
    std::string packet;
    append(packet, header); // the kernel sums it up
    return packet + content;
}

std::string packet_six(const FromPeer &ends, const std::string &content) {
    ip6_hdr header = {};
    header.ip6_flow = htonl(6U << 28U);
    header.ip6_plen = htons(static_cast<uint16_t>(content.size()));
    header.ip6_nxt = IPPROTO_TCP;
    header.ip6_hops = hops;
    std::memcpy(&header.ip6_src, ends.peer.raw().data(), sizeof header.ip6_src);
    std::memcpy(&header.ip6_dst, ends.us.raw().data(), sizeof header.ip6_dst);
    std::string packet;
    append(packet, header);
    return packet + content;
}

} // namespace

Result<> send_from_peer(const FromPeer &ends, uint32_t sequence, uint32_t acknowledged, PeerSends what) {
    const bool six = ends.us.family() == AF_INET6;
    const Fd socket(::socket(ends.us.family(), SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    if (!socket)
        return fail(errno, "cannot make a raw socket");
    const int yes = 1;
    const uint32_t mark = os::lock_pass_mark;
    if (::setsockopt(socket.get(), six ? int{IPPROTO_IPV6} : int{IPPROTO_IP}, six ? header_included_six : IP_HDRINCL,
                     &yes, sizeof yes) < 0 ||
        ::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0)
        return fail(errno, "cannot write packets of our own");
    const std::string content = segment(ends, sequence, acknowledged, what);
    const std::string packet = six ? packet_six(ends, content) : packet_four(ends, content);
    os::InetAddress to = ends.us;
    to.set_port(0);
    if (::sendto(socket.get(), packet.data(), packet.size(), 0, to.get(), to.size()) < 0)
        return fail(errno, "cannot send a packet to {}", ends.us.text());
    return {};
}

} // namespace abey::rebuild
