// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/inet_diag.h"

#include "engine/os/sock_diag.h"

#include <cstring>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

namespace abey::os {
namespace {

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

inet_diag_req_v2 request_for(int family, int protocol) {
    inet_diag_req_v2 request = {};
    request.sdiag_family = static_cast<uint8_t>(family);
    request.sdiag_protocol = static_cast<uint8_t>(protocol);
    request.idiag_states = ~0U;
    return request;
}

Result<> ask(uint16_t type, uint16_t flags, const inet_diag_req_v2 &request, const DiagMessage &visit) {
    return ask_sock_diag(type, flags, std::as_bytes(std::span(&request, 1)), visit);
}

} // namespace

Result<std::vector<TcpDiag>> dump_tcp() {
    std::vector<TcpDiag> all;
    for (const int family : {AF_INET, AF_INET6}) {
        const DiagMessage look = [&](std::span<const std::byte> payload) -> Result<> {
            const auto message = first_of<inet_diag_msg>(payload);
            if (!message || (message->idiag_family != AF_INET && message->idiag_family != AF_INET6))
                return {};
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
            return {};
        };
        auto done = ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request_for(family, IPPROTO_TCP), look);
        if (!done && (family == AF_INET || done.error().code() != ENOENT)) // a kernel without IPv6
            return std::unexpected(std::move(done).error());
    }
    return all;
}

Result<std::map<uint32_t, uint8_t>> shut_directions(int protocol) {
    std::map<uint32_t, uint8_t> all;
    for (const int family : {AF_INET, AF_INET6}) {
        const DiagMessage look = [&](std::span<const std::byte> payload) -> Result<> {
            const auto message = first_of<inet_diag_msg>(payload);
            if (!message)
                return {};
            return each_diag_attribute(payload, sizeof *message,
                                       [&](unsigned type, std::span<const std::byte> bytes) -> Result<> {
                                           const auto value = first_of<uint8_t>(bytes).value_or(0);
                                           if (type == INET_DIAG_SHUTDOWN && value != 0)
                                               all[message->idiag_inode] = value;
                                           return {};
                                       });
        };
        auto done = ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request_for(family, protocol), look);
        if (!done && done.error().code() != ENOENT) // a kernel without the protocol, or without CONFIG_INET_UDP_DIAG
            return std::unexpected(std::move(done).error());
    }
    return all;
}

Result<> destroy_tcp(const TcpDiag &diag) {
    auto request = request_for(diag.family, IPPROTO_TCP);
    if (diag.id.size() != sizeof request.id)
        return fail(EINVAL, "no socket to be ended");
    std::memcpy(&request.id, diag.id.data(), diag.id.size());
    const auto nothing = [](std::span<const std::byte> /*none*/) { return Result<>(); };
    const auto done = ask(SOCK_DESTROY, NLM_F_ACK, request, nothing);
    if (!done && done.error().code() != ENOENT)
        return done;
    return {};
}

} // namespace abey::os
