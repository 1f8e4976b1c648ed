// SPDX-License-Identifier: LGPL-2.1-or-later
//
// netlink(7) sockets.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/unix_names.h"
#include "engine/socket_settings.h"

#include <linux/netlink.h>

namespace abey::rebuild {
namespace netlink_socket {
namespace {

// As its owner: the kernel asks what the one who opened it was allowed to do.
Result<Fd> new_socket(const model::NetlinkSocket &saved) {
    const ActingAs user(saved.settings.uid, saved.settings.gid);
    Fd fd(::socket(AF_NETLINK, saved.type | SOCK_CLOEXEC, saved.protocol));
    if (!fd)
        return fail(errno, "cannot make a netlink socket of protocol {}", saved.protocol);
    return fd;
}

// Usually its port is the id of the process. Somebody else may have it now; then the kernel chooses.
Result<> bind_to_port(const Fd &fd, uint32_t port) {
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_pid = port;
    int failed = ::bind(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address);
    if (failed < 0 && errno == EADDRINUSE) {
        address.nl_pid = 0;
        failed = ::bind(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address);
    }
    if (failed < 0)
        return fail(errno, "cannot bind a netlink socket to port {}", port);
    return {};
}

Result<Fd> create(Context & /*context*/, const model::OpenFile &file) {
    const auto &saved = std::get<model::NetlinkSocket>(file.payload);
    if (saved.type != SOCK_RAW && saved.type != SOCK_DGRAM)
        return fail(EBADMSG, "the checkpoint has a netlink socket of type {}", saved.type);
    Fd fd = TRY(new_socket(saved));
    TRY(engine::apply_settings(fd, saved.settings, engine::Moment::before_bind));
    if (saved.port != 0)
        TRY(bind_to_port(fd, saved.port));
    // the filter before the groups, so that nothing comes through
    TRY(engine::apply_settings(fd, saved.settings, engine::Moment::at_end));
    for (const uint32_t group : saved.groups)
        if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
            return fail(errno, "cannot join group {} of netlink protocol {} again", group, saved.protocol);
    if (!saved.connected)
        return fd;
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    address.nl_pid = saved.peer_port;
    address.nl_groups = saved.peer_groups;
    if (::connect(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address) < 0)
        return fail(errno, "cannot connect a netlink socket to port {} again", saved.peer_port);
    return fd;
}

} // namespace
} // namespace netlink_socket

Kind netlink_socket_kind() {
    return {.name = "netlink socket",
            .payload = payload_index<model::NetlinkSocket>(),
            .create = netlink_socket::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
