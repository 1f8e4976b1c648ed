// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/inet_diag.h"

#include <cstring>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

namespace abey::os {
namespace {

struct Ask {
    nlmsghdr header;
    inet_diag_req_v2 request;
};

template <class T> std::optional<T> take(std::span<const std::byte> data) {
    if (data.size() < sizeof(T))
        return std::nullopt;
    T value = {};
    std::memcpy(&value, data.data(), sizeof value);
    return value;
}

InetAddress address_of(int family, const uint32_t (&raw)[4], uint16_t port, uint32_t interface) {
    if (family == AF_INET) {
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_port = port;
        address.sin_addr.s_addr = raw[0];
        return InetAddress::parse({reinterpret_cast<const char *>(&address), sizeof address}).value_or(InetAddress());
    }
    sockaddr_in6 address = {};
    address.sin6_family = AF_INET6;
    address.sin6_port = port;
    std::memcpy(&address.sin6_addr, raw, sizeof address.sin6_addr);
    if (IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr))
        address.sin6_scope_id = interface;
    return InetAddress::parse({reinterpret_cast<const char *>(&address), sizeof address}).value_or(InetAddress());
}

Result<Fd> netlink() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!socket)
        return fail(errno, "cannot ask the kernel about sockets (sock_diag)");
    return socket;
}

Result<> send(const Fd &socket, Ask &ask, uint16_t type, uint16_t flags) {
    ask.header.nlmsg_len = sizeof ask;
    ask.header.nlmsg_type = type;
    ask.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    if (::send(socket.get(), &ask, sizeof ask, 0) < 0)
        return fail(errno, "cannot ask the kernel about TCP sockets (sock_diag)");
    return {};
}

// Calls `one` for each message, until the answer's end.
template <class Function> Result<> receive(const Fd &socket, Function one) {
    std::vector<std::byte> buffer(size_t{256} << 10U);
    for (;;) {
        const ssize_t size = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(errno, "cannot read about TCP sockets (sock_diag)");
        auto rest = std::span<const std::byte>(buffer).first(static_cast<size_t>(size));
        while (rest.size() >= sizeof(nlmsghdr)) {
            const auto header = take<nlmsghdr>(rest).value_or(nlmsghdr());
            if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > rest.size())
                return fail(EPROTO, "sock_diag: a message is malformed");
            const auto payload = rest.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr));
            if (header.nlmsg_type == NLMSG_DONE)
                return {};
            if (header.nlmsg_type == NLMSG_ERROR) {
                const int code = take<int>(payload).value_or(-EPROTO);
                return code == 0 ? Result<>() : fail(-code, "sock_diag: the kernel refuses");
            }
            one(payload);
            rest = rest.subspan(std::min<size_t>((header.nlmsg_len + 3U) & ~3U, rest.size()));
        }
    }
}

} // namespace

Result<std::vector<TcpDiag>> dump_tcp() {
    std::vector<TcpDiag> all;
    for (const int family : {AF_INET, AF_INET6}) {
        const Fd socket = TRY(netlink());
        Ask ask = {};
        ask.request.sdiag_family = static_cast<uint8_t>(family);
        ask.request.sdiag_protocol = IPPROTO_TCP;
        ask.request.idiag_states = ~0U;
        TRY(send(socket, ask, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP));
        auto done = receive(socket, [&](std::span<const std::byte> payload) {
            const auto message = take<inet_diag_msg>(payload);
            if (!message || (message->idiag_family != AF_INET && message->idiag_family != AF_INET6))
                return;
            TcpDiag diag;
            diag.inode = message->idiag_inode;
            diag.state = static_cast<TcpState>(message->idiag_state);
            diag.family = message->idiag_family;
            const auto &id = message->id;
            diag.local = address_of(diag.family, id.idiag_src, id.idiag_sport, id.idiag_if);
            diag.remote = address_of(diag.family, id.idiag_dst, id.idiag_dport, id.idiag_if);
            diag.read_queue = message->idiag_rqueue;
            diag.write_queue = message->idiag_wqueue;
            diag.id.assign(reinterpret_cast<const char *>(&id), sizeof id);
            all.push_back(std::move(diag));
        });
        if (!done && (family == AF_INET || done.error().code() != ENOENT)) // a kernel without IPv6
            return std::unexpected(std::move(done).error());
    }
    return all;
}

Result<std::map<uint32_t, uint8_t>> shut_directions(int protocol) {
    std::map<uint32_t, uint8_t> all;
    for (const int family : {AF_INET, AF_INET6}) {
        const Fd socket = TRY(netlink());
        Ask ask = {};
        ask.request.sdiag_family = static_cast<uint8_t>(family);
        ask.request.sdiag_protocol = static_cast<uint8_t>(protocol);
        ask.request.idiag_states = ~0U;
        TRY(send(socket, ask, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP));
        auto done = receive(socket, [&](std::span<const std::byte> payload) {
            const auto message = take<inet_diag_msg>(payload);
            if (!message)
                return;
            auto rest = payload.subspan(sizeof *message);
            while (const auto attribute = take<nlattr>(rest)) {
                if (attribute->nla_len < sizeof(nlattr) || attribute->nla_len > rest.size())
                    return;
                const auto value = take<uint8_t>(rest.subspan(sizeof(nlattr))).value_or(0);
                if (attribute->nla_type == INET_DIAG_SHUTDOWN && attribute->nla_len > sizeof(nlattr) && value != 0)
                    all[message->idiag_inode] = value;
                rest = rest.subspan(std::min<size_t>((attribute->nla_len + 3U) & ~3U, rest.size()));
            }
        });
        if (!done && done.error().code() != ENOENT) // a kernel without the protocol, or without CONFIG_INET_UDP_DIAG
            return std::unexpected(std::move(done).error());
    }
    return all;
}

Result<> destroy_tcp(const TcpDiag &diag) {
    const Fd socket = TRY(netlink());
    Ask ask = {};
    ask.request.sdiag_family = static_cast<uint8_t>(diag.family);
    ask.request.sdiag_protocol = IPPROTO_TCP;
    ask.request.idiag_states = ~0U;
    if (diag.id.size() != sizeof ask.request.id)
        return fail(EINVAL, "no socket to be ended");
    std::memcpy(&ask.request.id, diag.id.data(), diag.id.size());
    TRY(send(socket, ask, SOCK_DESTROY, NLM_F_ACK));
    const auto done = receive(socket, [](std::span<const std::byte> /*none*/) {});
    if (!done && done.error().code() != ENOENT)
        return done;
    return {};
}

} // namespace abey::os
