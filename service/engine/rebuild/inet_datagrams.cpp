// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/inet_datagrams.h"

#include "engine/os/inet_address.h"

#include <cstring>

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

namespace abey::rebuild {
namespace {

using os::InetAddress;

// For the time of filling: whatever the queue held must fit again.
constexpr int datagram_buffer = 64 << 20;

// RFC 1071 over a whole number of 16 bit words
uint32_t add_words(uint32_t sum, std::string_view bytes) {
    for (size_t i = 0; i < bytes.size(); i += 2) {
        const auto high = static_cast<uint8_t>(bytes[i]);
        const auto low = i + 1 < bytes.size() ? static_cast<uint8_t>(bytes[i + 1]) : uint8_t{0};
        sum += (static_cast<uint32_t>(high) << 8U) | low;
    }
    return sum;
}

template <class T> std::string_view bytes_of(const T &header) {
    return {reinterpret_cast<const char *>(&header), sizeof header};
}

// Mandatory with IPv6, harmless with IPv4.
uint16_t checksum(const InetAddress &from, const InetAddress &to, const udphdr &header, std::string_view data) {
    uint32_t sum = IPPROTO_UDP + static_cast<uint32_t>(sizeof header + data.size());
    sum = add_words(sum, from.raw());
    sum = add_words(sum, to.raw());
    sum = add_words(sum, bytes_of(header));
    sum = add_words(sum, data);
    while (sum > 0xffff)
        sum = (sum & 0xffffU) + (sum >> 16U);
    const auto folded = static_cast<uint16_t>(~sum);
    return htons(folded == 0 ? 0xffff : folded);
}

std::string packet(const InetAddress &from, const InetAddress &to, std::string_view data) {
    udphdr udp = {};
    udp.source = htons(from.port());
    udp.dest = htons(to.port());
    udp.len = htons(static_cast<uint16_t>(sizeof udp + data.size()));
    udp.check = checksum(from, to, udp, data);
    std::string packet;
    if (to.family() == AF_INET) {
        iphdr ip = {};
        ip.version = 4;
        ip.ihl = sizeof ip / 4;
        ip.ttl = 64;
        ip.protocol = IPPROTO_UDP;
        std::memcpy(&ip.saddr, from.raw().data(), sizeof ip.saddr);
        std::memcpy(&ip.daddr, to.raw().data(), sizeof ip.daddr);
        packet = bytes_of(ip); // the kernel adds length and checksum
    } else {
        ip6_hdr ip = {};
        ip.ip6_flow = htonl(6U << 28U);
        ip.ip6_plen = udp.len;
        ip.ip6_nxt = IPPROTO_UDP;
        ip.ip6_hlim = 64;
        std::memcpy(&ip.ip6_src, from.raw().data(), sizeof ip.ip6_src);
        std::memcpy(&ip.ip6_dst, to.raw().data(), sizeof ip.ip6_dst);
        packet = bytes_of(ip);
    }
    packet += bytes_of(udp);
    packet += data;
    return packet;
}

} // namespace

Result<> put_back(const Fd &socket, const model::InetSocket &saved) {
    if (saved.datagrams.empty())
        return {};
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &datagram_buffer, sizeof datagram_buffer) < 0)
        return fail(errno, "cannot make room for unread datagrams");
    const auto local = InetAddress::parse(saved.local);
    if (!local)
        return fail(EBADMSG, "the checkpoint has unread datagrams of a socket without address");
    Fd raw_four, raw_six;
    for (const model::InetDatagram &datagram : saved.datagrams) {
        const auto source = InetAddress::parse(datagram.source);
        if (!source)
            return fail(EBADMSG, "the checkpoint has a datagram from nowhere");
        const InetAddress from = source->plain();
        InetAddress to = local->is_any() ? InetAddress::loopback(from.family()) : local->plain();
        to.set_port(local->port());
        if (to.family() != from.family())
            return fail(EBADMSG, "the checkpoint has a datagram from another family of addresses");
        Fd &raw = from.family() == AF_INET ? raw_four : raw_six;
        if (!raw)
            raw = Fd(::socket(from.family(), SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
        if (!raw)
            return fail(errno, "cannot make a raw socket");
        const std::string whole = packet(from, to, datagram.data);
        InetAddress target = to;
        target.set_port(0);
        if (::sendto(raw.get(), whole.data(), whole.size(), 0, target.get(), target.size()) < 0)
            return fail(errno, "cannot put an unread datagram from {} back", from.text());
    }
    return {};
}

} // namespace abey::rebuild
