// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Internet sockets: made all together, listeners first, because connections need the ports of others.
#include "engine/os/inet_address.h"
#include "engine/rebuild/inet_datagrams.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/tcp_connection.h"
#include "engine/rebuild/unix_names.h"
#include "engine/socket_settings.h"

#include <algorithm>
#include <cstring>
#include <set>

#include <net/if.h>

namespace abey::rebuild {
namespace inet_socket {
namespace {

using engine::Moment;
using model::InetSocket;
using model::InetState;
using os::InetAddress;

// Context::state
struct InetSockets {
    std::map<model::ObjRef, Fd> made;
    std::set<model::ObjRef> kept; // connections to peers outside that go on
    bool built = false;
};

std::string described(const InetSocket &socket) {
    const auto local = InetAddress::parse(socket.local).value_or(InetAddress());
    const std::string_view name = socket.type == SOCK_STREAM ? "TCP" : socket.protocol == IPPROTO_UDP ? "UDP" : "raw";
    const auto remote = InetAddress::parse(socket.remote);
    return fmt::format("{} socket ({}{})", name, local.text(), remote ? " to " + remote->text() : "");
}

Result<Fd> new_socket(const InetSocket &socket) {
    if ((socket.family != AF_INET && socket.family != AF_INET6) ||
        (socket.type != SOCK_STREAM && socket.type != SOCK_DGRAM && socket.type != SOCK_RAW))
        return fail(EBADMSG, "the checkpoint has an internet socket of family {} and type {}", socket.family,
                    socket.type);
    const auto make = [&] { return Fd(::socket(socket.family, socket.type | SOCK_CLOEXEC, socket.protocol)); };
    Fd fd = make();
    if (!fd && errno == EACCES) { // ICMP sockets are for the groups of net.ipv4.ping_group_range
        const ActingAs user(socket.settings.uid, socket.settings.gid);
        fd = make();
    }
    if (!fd)
        return fail(errno, "cannot make it");
    return fd;
}

Result<> set_int(const Fd &fd, int level, int name, int value) {
    if (::setsockopt(fd.get(), level, name, &value, sizeof value) < 0)
        return fail(errno, "cannot set option {} of level {}", name, level);
    return {};
}

Result<> set_free_bind(const Fd &fd, const InetSocket &socket, int value) {
    constexpr int ipv6_freebind = 78;
    return socket.family == AF_INET ? set_int(fd, SOL_IP, IP_FREEBIND, value)
                                    : set_int(fd, SOL_IPV6, ipv6_freebind, value);
}

// Also to an address that this machine has no more: then nothing will come, as after any change of the network.
Result<> bind_to(const Fd &fd, const InetSocket &socket) {
    const auto local = InetAddress::parse(socket.local);
    if (!local)
        return {};
    TRY(set_free_bind(fd, socket, 1));
    int failed = ::bind(fd.get(), local->get(), local->size());
    if (failed < 0 && errno == EADDRINUSE && socket.type == SOCK_STREAM) {
        TRY(clear_leftovers(*local));
        failed = ::bind(fd.get(), local->get(), local->size());
    }
    if (failed < 0)
        return fail(errno, "cannot bind it to {} again", local->text());
    return set_free_bind(fd, socket, 0);
}

Result<> connect_to(const Fd &fd, const InetSocket &socket) {
    const auto remote = InetAddress::parse(socket.remote);
    if (!remote)
        return fail(EBADMSG, "the checkpoint has a connected socket without a peer");
    if (::connect(fd.get(), remote->get(), remote->size()) == 0)
        return {};
    // Without a way there now, it shall be as if the way had been lost: connected, and nothing goes through. A socket
    // that is bound to a device needs no route.
    const int why = errno;
    constexpr char device[] = "lo";
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device, sizeof device) < 0 ||
        ::connect(fd.get(), remote->get(), remote->size()) < 0 ||
        ::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "", 0) < 0)
        return fail(why, "cannot connect it to {} again", remote->text());
    return {};
}

Result<> join(const Fd &fd, const model::GroupMembership &membership) {
    const uint32_t index = ::if_nametoindex(membership.interface.c_str());
    if (index == 0)
        return {}; // it has gone with its interface
    const auto group = InetAddress::parse(membership.group);
    if (!group)
        return fail(EBADMSG, "a multicast group has no address");
    const int level = group->family() == AF_INET ? SOL_IP : SOL_IPV6;
    group_req request = {};
    request.gr_interface = index;
    std::memcpy(&request.gr_group, membership.group.data(), membership.group.size());
    if (::setsockopt(fd.get(), level, MCAST_JOIN_GROUP, &request, sizeof request) < 0)
        return fail(errno, "cannot join a multicast group on {} again", membership.interface);
    if (membership.sources.empty() && !membership.only_sources)
        return {};
    std::vector<char> memory(GROUP_FILTER_SIZE(membership.sources.size() + 1));
    auto *filter = reinterpret_cast<group_filter *>(memory.data());
    filter->gf_interface = index;
    std::memcpy(&filter->gf_group, membership.group.data(), membership.group.size());
    filter->gf_fmode = membership.only_sources ? MCAST_INCLUDE : MCAST_EXCLUDE;
    filter->gf_numsrc = static_cast<uint32_t>(membership.sources.size());
    for (size_t i = 0; i < membership.sources.size(); ++i)
        std::memcpy(memory.data() + GROUP_FILTER_SIZE(i), membership.sources[i].data(), membership.sources[i].size());
    if (::setsockopt(fd.get(), level, MCAST_MSFILTER, filter,
                     static_cast<socklen_t>(GROUP_FILTER_SIZE(membership.sources.size()))) < 0)
        return fail(errno, "cannot choose the sources of a multicast group on {} again", membership.interface);
    return {};
}

class Builder {
  public:
    Builder(const Context &context, InetSockets &sockets)
        : tree_(context.tree), keeps_(context.keeps_connections), made_(sockets.made), kept_(sockets.kept) {}

    Result<> build() {
        // All are bound before one listens: then they share a port as they did.
        TRY(each(is_bound_stream, &Builder::make_stream));
        TRY(each(is_listener, &Builder::listen));
        TRY(each(is_bound_stream, &Builder::give_up_port));
        TRY(each(is_datagram, &Builder::make_datagram));
        TRY(each(is_other_stream, &Builder::make_connection));
        for (const auto &[id, socket] : tree_.inet_sockets)
            if (const auto made = made_.find(id); made != made_.end())
                TRY_IN(engine::apply_settings(made->second, socket.settings, Moment::at_end), "{}", described(socket));
        return {};
    }

  private:
    static bool is_datagram(const InetSocket &socket) { return socket.type != SOCK_STREAM; }
    static bool is_listener(const InetSocket &socket) { return socket.state == InetState::listening; }
    static bool is_bound_stream(const InetSocket &socket) {
        return socket.type == SOCK_STREAM && (socket.state == InetState::idle || is_listener(socket));
    }

    static bool is_other_stream(const InetSocket &socket) {
        return socket.type == SOCK_STREAM && !is_bound_stream(socket);
    }

    Result<> each(bool (*which)(const InetSocket &), Result<> (Builder::*make)(const InetSocket &)) {
        for (const auto &[id, socket] : tree_.inet_sockets)
            if (which(socket))
                TRY_IN((this->*make)(socket), "{}", described(socket));
        return {};
    }

    Result<> make_stream(const InetSocket &socket) {
        Fd fd = TRY(new_socket(socket));
        TRY(engine::apply_settings(fd, socket.settings, Moment::before_bind));
        if (shares_port(socket))
            TRY(set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1));
        TRY(bind_to(fd, socket));
        made_[socket.id] = std::move(fd);
        return {};
    }

    static bool may_share(const InetSocket &socket) {
        return std::ranges::any_of(socket.settings.options, [](const auto &option) {
            return option.level == SOL_SOCKET && option.name == SO_REUSEPORT;
        });
    }

    // Some of those that share a port may have given up the right to it since.
    [[nodiscard]] bool shares_port(const InetSocket &socket) const {
        const auto port = [](const InetSocket &each) {
            return InetAddress::parse(each.local).value_or(InetAddress()).port();
        };
        return port(socket) != 0 && std::ranges::any_of(tree_.inet_sockets, [&](const auto &other) {
                   return other.first != socket.id && is_bound_stream(other.second) &&
                          port(other.second) == port(socket) && may_share(other.second);
               });
    }

    Result<> give_up_port(const InetSocket &socket) {
        return may_share(socket) || !shares_port(socket) ? Result<>()
                                                         : set_int(made_.at(socket.id), SOL_SOCKET, SO_REUSEPORT, 0);
    }

    static Result<Fd> new_stream(const InetSocket &socket) {
        Fd fd = TRY(new_socket(socket));
        TRY(engine::apply_settings(fd, socket.settings, Moment::before_bind));
        return fd;
    }

    Result<> make_connection(const InetSocket &socket) {
        if (made_.contains(socket.id))
            return {}; // with its peer
        Fd fd = TRY(new_stream(socket));
        if (socket.state == InetState::connected && socket.peer != 0) {
            TRY(make_pair(socket, fd));
        } else if (socket.state == InetState::connected && socket.listener != 0) {
            TRY(bind_to(fd, socket));
            TRY(connect_waiting(fd, socket));
        } else if (connects_again(socket)) {
            if (socket.state == InetState::connecting)
                TRY(bind_to(fd, socket));
        } else if (keeps_ && socket.state == InetState::connected && socket.action == model::PeerAction::keep) {
            TRY(make_kept(socket, fd));
        } else {
            TRY(hang_up(fd, socket));
        }
        made_[socket.id] = std::move(fd);
        return {};
    }

    Result<> make_kept(const InetSocket &socket, Fd &fd) {
        auto made = resume_kept(fd, socket);
        if (made)
            kept_.insert(socket.id);
        if (made || made.error().code() != EADDRNOTAVAIL)
            return made;
        // somebody has it, or the address is not ours any more: told at the suspend
        fd = TRY(new_stream(socket));
        return hang_up(fd, socket);
    }

    Result<> make_pair(const InetSocket &socket, const Fd &fd) {
        const InetSocket &peer = *TRY(find(tree_.inet_sockets, socket.peer));
        if (peer.peer != socket.id || peer.state != InetState::connected || peer.type != SOCK_STREAM)
            return fail(EBADMSG, "the checkpoint names a peer that is not its peer");
        if (peer.id == socket.id)
            return connect_to_itself(fd, socket);
        Fd other = TRY(new_stream(peer));
        TRY(connect_pair(fd, socket, other, peer));
        made_[peer.id] = std::move(other);
        return {};
    }

    Result<> listen(const InetSocket &socket) {
        if (::listen(made_.at(socket.id).get(), static_cast<int>(socket.backlog)) < 0)
            return fail(errno, "cannot listen again");
        return {};
    }

    // Its unread datagrams come back at once: as long as it is the newest with its address, it gets them.
    Result<> make_datagram(const InetSocket &socket) {
        Fd fd = TRY(new_socket(socket));
        TRY(engine::apply_settings(fd, socket.settings, Moment::before_bind));
        TRY(bind_to(fd, socket));
        if (socket.state == InetState::connected)
            TRY(connect_to(fd, socket));
        TRY(put_back(fd, socket));
        for (const auto &membership : socket.groups)
            TRY(join(fd, membership));
        if (socket.read_shut || socket.write_shut) // ENOTCONN: it is shut all the same
            (void)::shutdown(fd.get(), !socket.write_shut ? SHUT_RD : !socket.read_shut ? SHUT_WR : SHUT_RDWR);
        made_[socket.id] = std::move(fd);
        return {};
    }

    const model::Tree &tree_;
    const bool keeps_;
    std::map<model::ObjRef, Fd> &made_;
    std::set<model::ObjRef> &kept_;
};

Result<Fd> create(Context &context, const model::OpenFile &file) {
    auto &sockets = context.state<InetSockets>();
    if (!std::exchange(sockets.built, true))
        TRY(Builder(context, sockets).build());
    const model::ObjRef id = std::get<model::InetSocketFile>(file.payload).socket;
    const auto made = sockets.made.find(id);
    if (made == sockets.made.end() || !made->second)
        return fail(EBADMSG, "the checkpoint has no internet socket {}", id);
    return std::move(made->second);
}

// Connections that are made anew begin when all else has succeeded.
Result<> finish(Context &context) {
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *payload = std::get_if<model::InetSocketFile>(&file.payload);
        if (payload == nullptr)
            continue;
        const InetSocket &socket = *TRY(find(context.tree.inet_sockets, payload->socket));
        if (!connects_again(socket))
            continue;
        const int fd = TRY(context.open_file(id));
        TRY(start_connecting(fd, socket));
    }
    return {};
}

} // namespace
} // namespace inet_socket

Result<> let_connections_go(Context &context) {
    const auto &kept = context.state<inet_socket::InetSockets>().kept;
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *payload = std::get_if<model::InetSocketFile>(&file.payload);
        if (payload == nullptr || !kept.contains(payload->socket))
            continue;
        const model::InetSocket &socket = *TRY(find(context.tree.inet_sockets, payload->socket));
        const Fd fd(::fcntl(TRY(context.open_file(id)), F_DUPFD_CLOEXEC, 0));
        TRY_IN(let_go(fd, socket), "{}", inet_socket::described(socket));
        TRY_IN(engine::apply_settings(fd, socket.settings, engine::Moment::at_end), "{}",
               inet_socket::described(socket));
    }
    return {};
}

Kind inet_socket_kind() {
    return {.name = "internet socket",
            .payload = payload_index<model::InetSocketFile>(),
            .create = inet_socket::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = inet_socket::finish};
}

} // namespace abey::rebuild
