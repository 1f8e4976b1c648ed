// SPDX-License-Identifier: LGPL-2.1-or-later
// packet(7) sockets on the loopback device: with a filter, memberships, a ring that is not mapped, and the old type.
#include "scenario.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

using namespace scenario;

namespace {

int option(int fd, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    SYS(::getsockopt(fd, SOL_PACKET, name, &value, &size));
    return value;
}

sockaddr_ll own_address(int fd) {
    sockaddr_ll address = {};
    socklen_t size = sizeof address;
    SYS(::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size));
    return address;
}

void send_udp(const char *text) {
    const int fd = SYS(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(4711);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SYS(::sendto(fd, text, std::strlen(text), 0, reinterpret_cast<const sockaddr *>(&address), sizeof address));
    SYS(::close(fd));
}

// Is this the payload of a UDP packet to come? Behind 20 bytes of IP and 8 of UDP. Others may use the device, too.
bool hears(int fd, const std::string &text) {
    for (int i = 0; i < 1000; ++i) {
        pollfd ready = {fd, POLLIN, 0};
        if (SYS(::poll(&ready, 1, 2000)) == 0)
            return false;
        char buffer[2000];
        const ssize_t size = SYS(::recv(fd, buffer, sizeof buffer, 0));
        if (size > 28 && text == std::string(buffer + 28, static_cast<std::size_t>(size) - 28))
            return true;
    }
    return false;
}

void set_membership(int fd, int what, unsigned short type) {
    packet_mreq request = {};
    request.mr_ifindex = 1;
    request.mr_type = type;
    EQUAL(0, ::setsockopt(fd, SOL_PACKET, what, &request, sizeof request));
}

// How often it has joined, as sock_diag(7) tells.
unsigned memberships(int fd) {
    struct stat own = {};
    SYS(::fstat(fd, &own));
    const int asking = SYS(::socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
    struct {
        nlmsghdr header;
        packet_diag_req request;
    } ask = {};
    ask.header = {
        .nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
    ask.request.sdiag_family = AF_PACKET;
    ask.request.pdiag_show = PACKET_SHOW_MCLIST;
    SYS(::send(asking, &ask, sizeof ask, 0));
    alignas(nlmsghdr) static char buffer[65536];
    unsigned count = 0;
    for (bool done = false; !done;) {
        auto left = static_cast<unsigned>(SYS(::recv(asking, buffer, sizeof buffer, 0)));
        auto *header = reinterpret_cast<nlmsghdr *>(buffer);
        for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
            done = done || header->nlmsg_type == NLMSG_DONE;
            const auto *message = static_cast<const packet_diag_msg *>(NLMSG_DATA(header));
            if (done || message->pdiag_ino != own.st_ino)
                continue;
            auto size = static_cast<unsigned>(header->nlmsg_len - NLMSG_LENGTH(sizeof *message));
            auto *attribute =
                reinterpret_cast<rtattr *>(reinterpret_cast<char *>(NLMSG_DATA(header)) + sizeof *message);
            for (; RTA_OK(attribute, size); attribute = RTA_NEXT(attribute, size))
                if (attribute->rta_type == PACKET_DIAG_MCLIST)
                    count += static_cast<const packet_diag_mclist *>(RTA_DATA(attribute))->pdmc_count;
        }
    }
    SYS(::close(asking));
    return count;
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_IP);
    address.sll_ifindex = static_cast<int>(::if_nametoindex("lo"));
    const int cooked = SYS(::socket(AF_PACKET, SOCK_DGRAM, 0));
    SYS(::bind(cooked, reinterpret_cast<const sockaddr *>(&address), sizeof address));
    const int one = 1;
    SYS(::setsockopt(cooked, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one));
    SYS(::setsockopt(cooked, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one));
    set_membership(cooked, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC);
    set_membership(cooked, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC);

    const int deaf = SYS(::socket(AF_PACKET, SOCK_RAW, 0));
    sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    const sock_fprog program = {1, &nothing};
    SYS(::setsockopt(deaf, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));

    sockaddr_ll everything = {};
    everything.sll_family = AF_PACKET;
    everything.sll_protocol = htons(ETH_P_ALL);
    SYS(::bind(deaf, reinterpret_cast<const sockaddr *>(&everything), sizeof everything));

    const int ringed = SYS(::socket(AF_PACKET, SOCK_RAW, 0));
    const int version = TPACKET_V2;
    SYS(::setsockopt(ringed, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
    const int reserve = 48;
    SYS(::setsockopt(ringed, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve));
    tpacket_req ring = {.tp_block_size = 4096, .tp_block_nr = 2, .tp_frame_size = 1024, .tp_frame_nr = 8};
    SYS(::setsockopt(ringed, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring));

    const int old = SYS(::socket(AF_PACKET, SOCK_PACKET, htons(ETH_P_ALL)));
    sockaddr name = {};
    name.sa_family = AF_PACKET;
    scenario::put_text(name.sa_data, "lo");
    SYS(::bind(old, &name, sizeof name));
    send_udp("before"); // told, and lost: nothing but the news is compared
    while (::recv(cooked, &name, 1, MSG_DONTWAIT) >= 0) {
    }
    ready();
    wait();
    send_udp("after");
    CHECK(hears(cooked, "after"));
    EQUAL(1, option(cooked, PACKET_AUXDATA));
    EQUAL(address.sll_ifindex, own_address(cooked).sll_ifindex);
    EQUAL(address.sll_protocol, own_address(cooked).sll_protocol);
    EQUAL(2, memberships(cooked));
    set_membership(cooked, PACKET_DROP_MEMBERSHIP, PACKET_MR_PROMISC);
    EQUAL(1, memberships(cooked));
    char byte = 0;
    EQUAL(-1, ::recv(deaf, &byte, 1, MSG_DONTWAIT));
    EQUAL(htons(ETH_P_ALL), own_address(deaf).sll_protocol);
    EQUAL(static_cast<int>(TPACKET_V2), option(ringed, PACKET_VERSION));
    EQUAL(reserve, option(ringed, PACKET_RESERVE));
    EQUAL(-1, ::setsockopt(ringed, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve)); // there is a ring
    EQUAL(EBUSY, errno);
    socklen_t size = sizeof name;
    SYS(::getsockname(old, &name, &size));
    EQUAL(std::string("lo"), std::string(name.sa_data));
    pollfd heard = {old, POLLIN, 0};
    EQUAL(1, SYS(::poll(&heard, 1, 2000)));
    pass();
}
