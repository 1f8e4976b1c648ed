// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/unix_diag.h"

#include <cstring>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

namespace abey::capture {
namespace {

template <class T> std::optional<T> take(std::span<const std::byte> data) {
    if (data.size() < sizeof(T))
        return std::nullopt;
    T value = {};
    std::memcpy(&value, data.data(), sizeof value);
    return value;
}

constexpr size_t aligned(size_t size) { return (size + 3U) & ~size_t{3}; }

Result<> parse_attribute(unsigned type, std::span<const std::byte> data, UnixDiag &diag) {
    switch (type) {
    case UNIX_DIAG_NAME:
        diag.name.assign(reinterpret_cast<const char *>(data.data()), data.size());
        // a path ends at its NUL, an abstract name begins with one
        if (!diag.name.empty() && diag.name.front() != '\0')
            diag.name.resize(std::min(diag.name.find('\0'), diag.name.size()));
        break;
    case UNIX_DIAG_VFS:
        if (const auto vfs = take<unix_diag_vfs>(data))
            diag.vfs_inode = vfs->udiag_vfs_ino;
        break;
    case UNIX_DIAG_PEER:
        diag.peer = take<uint32_t>(data);
        break;
    case UNIX_DIAG_ICONS:
        for (; data.size() >= sizeof(uint32_t); data = data.subspan(sizeof(uint32_t)))
            diag.pending.push_back(take<uint32_t>(data).value_or(0));
        break;
    case UNIX_DIAG_RQLEN:
        if (const auto queues = take<unix_diag_rqlen>(data)) {
            diag.read_queue = queues->udiag_rqueue;
            diag.write_queue = queues->udiag_wqueue;
        }
        break;
    case UNIX_DIAG_SHUTDOWN:
        diag.shutdown = take<uint8_t>(data).value_or(0);
        break;
    default:
        break;
    }
    return {};
}

Result<UnixDiag> parse_socket(std::span<const std::byte> payload) {
    const auto message = take<unix_diag_msg>(payload);
    if (!message)
        return fail(EPROTO, "sock_diag: a message about a socket is too short");
    UnixDiag diag;
    diag.number = message->udiag_ino;
    diag.type = message->udiag_type;
    diag.state = message->udiag_state;
    payload = payload.subspan(std::min(aligned(sizeof(unix_diag_msg)), payload.size()));
    while (payload.size() >= sizeof(rtattr)) {
        const auto attribute = take<rtattr>(payload).value_or(rtattr{});
        if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > payload.size())
            return fail(EPROTO, "sock_diag: an attribute of socket {} is malformed", diag.number);
        TRY(parse_attribute(attribute.rta_type, payload.subspan(sizeof(rtattr), attribute.rta_len - sizeof(rtattr)),
                            diag));
        payload = payload.subspan(std::min(aligned(attribute.rta_len), payload.size()));
    }
    return diag;
}

} // namespace

Result<bool> parse_unix_diag(std::span<const std::byte> datagram, UnixDiags &diags) {
    while (datagram.size() >= sizeof(nlmsghdr)) {
        const auto header = take<nlmsghdr>(datagram).value_or(nlmsghdr{});
        if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > datagram.size())
            return fail(EPROTO, "sock_diag: a message is malformed");
        const auto payload = datagram.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr));
        if (header.nlmsg_type == NLMSG_DONE)
            return true;
        if (header.nlmsg_type == NLMSG_ERROR)
            return fail(-take<int>(payload).value_or(-EPROTO), "sock_diag: the kernel refuses to list unix sockets");
        if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY) {
            auto diag = TRY(parse_socket(payload));
            const uint32_t number = diag.number;
            if (number != 0)
                diags.insert_or_assign(number, std::move(diag));
        }
        datagram = datagram.subspan(std::min(aligned(header.nlmsg_len), datagram.size()));
    }
    return false;
}

Result<UnixDiags> dump_unix_sockets() {
    const Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!netlink)
        return fail(errno, "cannot ask the kernel about sockets (sock_diag)");
    struct {
        nlmsghdr header;
        unix_diag_req request;
    } ask = {};
    ask.header = {
        .nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
    ask.request.sdiag_family = AF_UNIX;
    ask.request.udiag_states = ~0U;
    ask.request.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
    if (::send(netlink.get(), &ask, sizeof ask, 0) < 0)
        return fail(errno, "cannot ask the kernel about unix sockets (sock_diag)");
    UnixDiags diags;
    std::vector<std::byte> buffer(size_t{256} << 10U);
    for (bool done = false; !done;) {
        const ssize_t size = ::recv(netlink.get(), buffer.data(), buffer.size(), MSG_TRUNC);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(errno, "cannot read the list of unix sockets (sock_diag)");
        if (static_cast<size_t>(size) > buffer.size())
            return fail(EMSGSIZE, "the list of unix sockets (sock_diag) comes in messages of {} bytes", size);
        done = TRY(parse_unix_diag(std::span(buffer).first(static_cast<size_t>(size)), diags));
    }
    return diags;
}

} // namespace abey::capture
