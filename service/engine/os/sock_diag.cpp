// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/sock_diag.h"

#include "engine/os/fd.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

namespace abey::os {

Result<bool> each_diag_message(std::span<const std::byte> datagram, const DiagMessage &visit) {
    while (datagram.size() >= sizeof(nlmsghdr)) {
        const auto header = first_of<nlmsghdr>(datagram).value_or(nlmsghdr{});
        if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > datagram.size())
            return fail(EPROTO, "sock_diag: a message is malformed");
        const auto payload = datagram.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr));
        if (header.nlmsg_type == NLMSG_DONE)
            return true;
        if (header.nlmsg_type == NLMSG_ERROR) {
            const int code = first_of<int>(payload).value_or(-EPROTO);
            return code == 0 ? Result<bool>(true) : fail(-code, "sock_diag: the kernel refuses");
        }
        if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY)
            TRY(visit(payload));
        datagram = datagram.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), datagram.size()));
    }
    return false;
}

Result<> each_diag_attribute(std::span<const std::byte> payload, size_t fixed, const DiagAttribute &visit) {
    payload = payload.subspan(std::min<size_t>(NLMSG_ALIGN(fixed), payload.size()));
    while (payload.size() >= sizeof(rtattr)) {
        const auto attribute = first_of<rtattr>(payload).value_or(rtattr{});
        if (attribute.rta_len < sizeof(rtattr) || attribute.rta_len > payload.size())
            return fail(EPROTO, "sock_diag: an attribute is malformed");
        TRY(visit(attribute.rta_type, payload.subspan(sizeof(rtattr), attribute.rta_len - sizeof(rtattr))));
        payload = payload.subspan(std::min<size_t>(RTA_ALIGN(attribute.rta_len), payload.size()));
    }
    return {};
}

Result<> ask_sock_diag(uint16_t type, uint16_t flags, std::span<const std::byte> request, const DiagMessage &visit) {
    const Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    std::vector<std::byte> question(sizeof(nlmsghdr) + request.size());
    nlmsghdr header = {};
    header.nlmsg_len = static_cast<uint32_t>(question.size());
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    std::memcpy(question.data(), &header, sizeof header);
    std::ranges::copy(request, question.begin() + sizeof header);
    if (!netlink || ::send(netlink.get(), question.data(), question.size(), 0) < 0)
        return fail(errno, "cannot ask the kernel about sockets (sock_diag)");
    std::vector<std::byte> buffer(size_t{256} << 10U);
    for (bool done = false; !done;) {
        const ssize_t size = ::recv(netlink.get(), buffer.data(), buffer.size(), MSG_TRUNC);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(errno, "cannot read about sockets (sock_diag)");
        if (static_cast<size_t>(size) > buffer.size())
            return fail(EMSGSIZE, "the list of sockets (sock_diag) comes in messages of {} bytes", size);
        done = TRY(each_diag_message(std::span(buffer).first(static_cast<size_t>(size)), visit));
    }
    return {};
}

} // namespace abey::os
