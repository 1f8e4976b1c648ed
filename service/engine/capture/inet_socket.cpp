// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Internet sockets: UDP, ICMP, raw, TCP.
#include "engine/capture/inet_socket.h"

#include "engine/capture/inet_queue.h"
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"
#include "engine/capture/tcp_connection.h"
#include "engine/os/inet_address.h"
#include "engine/os/inet_diag.h"
#include "engine/socket_settings.h"

#include <algorithm>
#include <array>
#include <optional>

#include <linux/icmp.h>
#include <linux/sockios.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

namespace abey::capture {
namespace inet_socket {
namespace {

// Context::state
struct InetSockets {
    engine::NewSocketOptions new_sockets;
    std::optional<std::vector<JoinedGroup>> groups;
    std::map<int, std::map<uint32_t, uint8_t>> shut; // by protocol, then as os::shut_directions() has it
};

bool is_udp(int protocol) { return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE; }

bool matches(const Seen &seen) {
    if (!S_ISSOCK(seen.stat.st_mode) || (seen.flags & O_PATH) != 0)
        return false;
    const int family = engine::int_option(*seen.file, SOL_SOCKET, SO_DOMAIN).value_or(-1);
    const int type = engine::int_option(*seen.file, SOL_SOCKET, SO_TYPE).value_or(-1);
    const int protocol = engine::int_option(*seen.file, SOL_SOCKET, SO_PROTOCOL).value_or(-1);
    if (family != AF_INET && family != AF_INET6)
        return false;
    switch (type) {
    case SOCK_STREAM:
        return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
    case SOCK_DGRAM:
        return is_udp(protocol) || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
    default:
        return type == SOCK_RAW;
    }
}

Result<> add_groups(Context &context, const Fd &file, model::InetSocket &socket) {
    auto &groups = context.state<InetSockets>().groups;
    if (!groups)
        groups = TRY(joined_groups());
    socket.groups = TRY(memberships(file, socket.family, *groups));
    return {};
}

Result<> add_shut(Context &context, model::InetSocket &socket) {
    auto &known = context.state<InetSockets>().shut;
    if (!known.contains(socket.protocol))
        known[socket.protocol] = TRY(os::shut_directions(socket.protocol));
    const auto &shut = known[socket.protocol];
    const auto found = shut.find(static_cast<uint32_t>(socket.number));
    socket.read_shut = found != shut.end() && (found->second & 1U) != 0;
    socket.write_shut = found != shut.end() && (found->second & 2U) != 0;
    return {};
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const Fd &file = *seen.file;
    if (!TRY(engine::is_in_our_network(file)))
        return refuse_other_network();
    model::InetSocket socket;
    socket.number = seen.stat.st_ino;
    socket.family = TRY(engine::int_option(file, SOL_SOCKET, SO_DOMAIN));
    socket.type = TRY(engine::int_option(file, SOL_SOCKET, SO_TYPE));
    socket.protocol = TRY(engine::int_option(file, SOL_SOCKET, SO_PROTOCOL));
    socket.settings = TRY(engine::read_settings(file, context.state<InetSockets>().new_sockets));
    const auto local = TRY(os::InetAddress::local_of(file));
    const auto remote = TRY(os::InetAddress::remote_of(file));
    if (local && (local.port() != 0 || !local.is_any()))
        socket.local = local.bytes();
    if (remote)
        socket.remote = remote.bytes();
    if (socket.type == SOCK_STREAM) {
        TRY(look_at_stream(file, socket));
    } else {
        if (!remote && (socket.type == SOCK_RAW || !is_udp(socket.protocol)))
            socket.remote = TRY(peer_without_port(socket.family, socket.type, socket.number));
        socket.state = !socket.remote.empty() ? model::InetState::connected : model::InetState::idle;
        TRY(add_groups(context, file, socket));
        if (socket.type == SOCK_DGRAM && is_udp(socket.protocol))
            TRY(add_shut(context, socket));
    }
    socket.id = context.tree.next_id();
    const model::ObjRef id = socket.id;
    context.tree.inet_sockets.emplace(id, std::move(socket));
    return model::InetSocketFile{.socket = id};
}

bool has_option(const model::InetSocket &socket, int level, int name) {
    return std::ranges::any_of(socket.settings.options,
                               [&](const auto &option) { return option.level == level && option.name == name; });
}

// Why unread datagrams cannot be sent to it again; empty: they can.
std::string_view obstacle(const model::InetSocket &socket) {
    if (socket.protocol != IPPROTO_UDP || socket.type != SOCK_DGRAM)
        return "not of UDP";
    const auto local = os::InetAddress::parse(socket.local);
    if (!local || local->is_multicast())
        return "bound to a multicast address";
    if (has_option(socket, SOL_SOCKET, SO_BINDTODEVICE))
        return "bound to a network device";
    return {};
}

// The parts of a datagram that is not sent yet (udp(7)) can be seen by nobody; that there are some can.
bool holds_back(const Fd &file, const model::InetSocket &socket) {
    int waiting = 0;
    return is_udp(socket.protocol) && has_option(socket, SOL_UDP, UDP_CORK) &&
           ::ioctl(file.get(), SIOCOUTQ, &waiting) == 0 && waiting > 0;
}

Result<> complete_datagrams(Context &context, const OpenFiles::Entry &entry, model::InetSocket &socket) {
    if (holds_back(entry.file, socket))
        context.findings.push_back(
            socket_finding(entry.seen, "the data that it holds back (UDP_CORK) cannot be read and is lost"));
    if (!has_unread(entry.file))
        return {};
    if (const std::string_view reason = obstacle(socket); !reason.empty()) {
        context.findings.push_back(
            socket_finding(entry.seen, fmt::format("what is unread in it is lost, because it is {}", reason)));
        return {};
    }
    if (!context.preflight)
        socket.datagrams = TRY(peek_datagrams(entry.file));
    return {};
}

Result<> complete(Context &context) {
    std::vector<StreamEnd> streams;
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *payload = std::get_if<model::InetSocketFile>(&file.payload);
        if (payload == nullptr)
            continue;
        auto &socket = context.tree.inet_sockets.at(payload->socket);
        const auto &entry = context.state<OpenFiles>().held(id);
        if (socket.type == SOCK_STREAM)
            streams.push_back({&socket, &entry});
        else
            TRY_IN(complete_datagrams(context, entry, socket), "{}", entry.seen.described());
    }
    return complete_streams(context, streams);
}

} // namespace
} // namespace inet_socket

std::unexpected<Error> refuse_other_network() {
    return fail(0, "a socket of another network namespace cannot be brought back yet; end the container that holds it");
}

Finding socket_finding(const Seen &seen, std::string reason, std::string advice, bool fatal) {
    return {.pid = seen.pid,
            .comm = seen.comm,
            .object = seen.number < 0 ? fmt::format("a descriptor on its way ({})", seen.link)
                                      : fmt::format("descriptor {} ({})", seen.number, seen.link),
            .reason = std::move(reason),
            .advice = std::move(advice),
            .fatal = fatal};
}

Kind inet_socket_kind() {
    return {.name = "internet socket",
            .matches = inet_socket::matches,
            .capture = inet_socket::capture,
            .complete = inet_socket::complete,
            .held = true};
}

} // namespace abey::capture
