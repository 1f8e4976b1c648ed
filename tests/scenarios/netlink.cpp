// SPDX-License-Identifier: LGPL-2.1-or-later
// Netlink sockets: port, groups, options, filter; they are told news, and asked questions, afterwards.
#include "internet.h"

#include <net/if.h>

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

namespace {

sockaddr_nl address_of(int fd) {
    sockaddr_nl address = {};
    socklen_t size = sizeof address;
    SYS(::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size));
    return address;
}

// Asks about the loopback device; with IFF_ALLMULTI in `change` it is changed, which is news.
void ask(int fd, uint16_t type, unsigned flags, unsigned change) {
    struct {
        nlmsghdr header;
        ifinfomsg info;
    } request = {};
    request.header.nlmsg_len = sizeof request;
    request.header.nlmsg_type = type;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.info.ifi_index = static_cast<int>(::if_nametoindex("lo"));
    request.info.ifi_flags = flags;
    request.info.ifi_change = change;
    EQUAL(sizeof request, SYS(::send(fd, &request, sizeof request, 0)));
}

int type_of_next(int fd) {
    const std::string message = scenario::receive(fd, 8192);
    CHECK(message.size() >= sizeof(nlmsghdr));
    nlmsghdr header = {};
    std::memcpy(&header, message.data(), sizeof header);
    return header.nlmsg_type;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int unbound = SYS(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE));
    const int asker = SYS(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));
    sockaddr_nl own = {};
    own.nl_family = AF_NETLINK;
    own.nl_pid = 54321;
    SYS(::bind(asker, reinterpret_cast<const sockaddr *>(&own), sizeof own));
    scenario::set(asker, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    const int listener = SYS(::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    own.nl_pid = 0;
    own.nl_groups = RTMGRP_LINK;
    SYS(::bind(listener, reinterpret_cast<const sockaddr *>(&own), sizeof own));
    scenario::set(listener, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_BRVLAN);
    scenario::set(listener, SOL_SOCKET, SO_RCVBUF, 50000);
    const int buffer = scenario::get(listener, SOL_SOCKET, SO_RCVBUF);
    const uint32_t port = address_of(listener).nl_pid;
    const int devices = SYS(::socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
    const sock_fprog filter = {.len = 1, .filter = &none};
    SYS(::setsockopt(devices, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
    scenario::set(devices, SOL_SOCKET, SO_PASSCRED, 1);
    own.nl_groups = 2;
    SYS(::bind(devices, reinterpret_cast<const sockaddr *>(&own), sizeof own));
    scenario::ready();
    scenario::wait();

    EQUAL(0U, address_of(unbound).nl_pid);
    EQUAL(54321U, address_of(asker).nl_pid);
    EQUAL(1, scenario::get(asker, SOL_NETLINK, NETLINK_EXT_ACK));
    EQUAL(port, address_of(listener).nl_pid);
    EQUAL(static_cast<unsigned>(RTMGRP_LINK), address_of(listener).nl_groups);
    uint32_t groups[4] = {};
    socklen_t size = sizeof groups;
    SYS(::getsockopt(listener, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &size));
    EQUAL(1U << (RTNLGRP_LINK - 1), groups[0]);
    EQUAL(1U << ((RTNLGRP_BRVLAN - 1) % 32), groups[(RTNLGRP_BRVLAN - 1) / 32]);
    EQUAL(buffer, scenario::get(listener, SOL_SOCKET, SO_RCVBUF));
    EQUAL(2U, address_of(devices).nl_groups);
    EQUAL(1, scenario::get(devices, SOL_SOCKET, SO_PASSCRED));
    sock_filter found = {};
    size = 1;
    SYS(::getsockopt(devices, SOL_SOCKET, SO_GET_FILTER, &found, &size));
    EQUAL(none.code, found.code);

    ask(asker, RTM_GETLINK, 0, 0);
    EQUAL(RTM_NEWLINK, type_of_next(asker));
    ask(asker, RTM_NEWLINK, IFF_ALLMULTI, IFF_ALLMULTI);
    EQUAL(RTM_NEWLINK, type_of_next(listener));
    ask(unbound, RTM_GETLINK, 0, 0);
    EQUAL(RTM_NEWLINK, type_of_next(unbound));
    scenario::pass();
}
