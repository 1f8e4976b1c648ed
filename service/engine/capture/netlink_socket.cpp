// SPDX-License-Identifier: LGPL-2.1-or-later
//
// netlink(7) sockets.
#include "engine/capture/inet_queue.h"
#include "engine/capture/inet_socket.h"
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"
#include "engine/socket_settings.h"

#include <linux/netlink.h>
#include <sys/socket.h>

namespace abey::capture {
namespace netlink_socket {
namespace {

// Context::state
struct NetlinkSockets {
    engine::NewSocketOptions new_sockets;
};

bool matches(const Seen &seen) {
    return S_ISSOCK(seen.stat.st_mode) && (seen.flags & O_PATH) == 0 &&
           engine::int_option(*seen.file, SOL_SOCKET, SO_DOMAIN).value_or(-1) == AF_NETLINK;
}

// A bit for each group, the first group in the lowest.
Result<std::vector<uint32_t>> groups_of(const Fd &file) {
    std::vector<uint32_t> words(64);
    auto size = static_cast<socklen_t>(words.size() * sizeof words[0]);
    if (::getsockopt(file.get(), SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, words.data(), &size) < 0)
        return fail(errno, "cannot ask for its groups");
    if (size > words.size() * sizeof words[0])
        return fail(EMSGSIZE, "its protocol has more than {} groups", words.size() * 32);
    std::vector<uint32_t> groups;
    for (uint32_t i = 0; i < size * 8; ++i)
        if (((words[i / 32] >> (i % 32)) & 1U) != 0)
            groups.push_back(i + 1);
    return groups;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const Fd &file = *seen.file;
    if (!TRY(engine::is_in_our_network(file)))
        return refuse_other_network();
    model::NetlinkSocket socket;
    socket.type = TRY(engine::int_option(file, SOL_SOCKET, SO_TYPE));
    socket.protocol = TRY(engine::int_option(file, SOL_SOCKET, SO_PROTOCOL));
    socket.settings = TRY(engine::read_settings(file, context.state<NetlinkSockets>().new_sockets));
    socket.groups = TRY(groups_of(file));
    sockaddr_nl address = {};
    socklen_t size = sizeof address;
    if (::getsockname(file.get(), reinterpret_cast<sockaddr *>(&address), &size) < 0)
        return fail(errno, "cannot ask for its address");
    socket.port = address.nl_pid;
    size = sizeof address;
    if (::getpeername(file.get(), reinterpret_cast<sockaddr *>(&address), &size) == 0) {
        socket.peer_port = address.nl_pid;
        socket.peer_groups = address.nl_groups;
        socket.connected = address.nl_pid != 0 || address.nl_groups != 0;
    }
    return socket;
}

// An answer from the kernel that nobody has read yet would be waited for in vain; news to a group may be missed, as
// when the buffer overflows.
Result<> complete(Context &context) {
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *socket = std::get_if<model::NetlinkSocket>(&file.payload);
        if (socket == nullptr)
            continue;
        const auto &entry = context.state<OpenFiles>().held(id);
        if (!has_unread(entry.file))
            continue;
        if (!socket->groups.empty())
            context.findings.push_back(socket_finding(entry.seen, "messages that are unread in it (netlink) are lost"));
        else if (!context.preflight)
            return fail(EAGAIN, "{}: it has not read an answer of the kernel (netlink) yet; try again",
                        entry.seen.described());
    }
    return {};
}

} // namespace
} // namespace netlink_socket

Kind netlink_socket_kind() {
    return {.name = "netlink socket",
            .matches = netlink_socket::matches,
            .capture = netlink_socket::capture,
            .complete = netlink_socket::complete,
            .held = true};
}

} // namespace abey::capture
