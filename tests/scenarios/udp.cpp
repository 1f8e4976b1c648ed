// SPDX-License-Identifier: LGPL-2.1-or-later
// UDP, ICMP and raw sockets: addresses, peers, unread datagrams with their senders, options, multicast groups; IPv4,
// IPv6 and IPv4 in IPv6.
#include "internet.h"

#include <net/if.h>

#include <linux/filter.h>
#include <linux/icmp.h>

using scenario::Address;
using scenario::bound;
using scenario::get;
using scenario::local_of;
using scenario::nothing_unread;
using scenario::receive;
using scenario::remote_of;
using scenario::send_text;
using scenario::send_to;
using scenario::set;

namespace {

void join(int fd, int level, Address group) {
    group_req request = {};
    request.gr_interface = ::if_nametoindex("lo");
    std::memcpy(&request.gr_group, &group.storage, sizeof group.storage);
    SYS(::setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof request));
}

bool is_member(int fd, int level, Address group) {
    group_req request = {};
    request.gr_interface = ::if_nametoindex("lo");
    std::memcpy(&request.gr_group, &group.storage, sizeof group.storage);
    return ::setsockopt(fd, level, MCAST_LEAVE_GROUP, &request, sizeof request) == 0;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int unbound = SYS(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    const int four = bound(SOCK_DGRAM, {"127.0.0.1", 4001});
    const int any = bound(SOCK_DGRAM, {"0.0.0.0", 4002});
    const int six = SYS(::socket(AF_INET6, SOCK_DGRAM, 0));
    set(six, SOL_IPV6, IPV6_V6ONLY, 1);
    SYS(::bind(six, Address("::1", 4003).get(), sizeof(sockaddr_in6)));
    const int mapped = bound(SOCK_DGRAM, {"::", 4004});
    const int connected = bound(SOCK_DGRAM, {"127.0.0.1", 4005});
    SYS(::connect(connected, Address("127.0.0.1", 4001).get(), sizeof(sockaddr_in)));
    const int sender = bound(SOCK_DGRAM, {"127.0.0.2", 4006}); // to be closed: what it sent stays
    const std::string large(30000, 'L');
    send_to(sender, "one", {"127.0.0.1", 4001});
    send_to(connected, "two", {"127.0.0.1", 4001});
    send_to(sender, "", {"127.0.0.1", 4001});
    send_to(sender, large, {"127.0.0.1", 4001});
    send_to(sender, "any", {"127.0.0.1", 4002});
    send_to(sender, "mapped", {"127.0.0.1", 4004});
    send_to(six, "six", {"::1", 4004});
    send_to(mapped, "itself", {"::1", 4003});
    send_to(four, "to the connected one", {"127.0.0.1", 4005});
    SYS(::close(sender));

    set(four, SOL_SOCKET, SO_BROADCAST, 1);
    set(four, SOL_IP, IP_TOS, 0x10);
    set(four, SOL_IP, IP_TTL, 33);
    set(four, SOL_SOCKET, SO_PRIORITY, 5);
    set(four, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    set(any, SOL_IP, IP_PKTINFO, 1);
    set(any, SOL_SOCKET, SO_RCVBUF, 20000);
    const int buffer = get(any, SOL_SOCKET, SO_RCVBUF);
    const int other_buffer = get(four, SOL_SOCKET, SO_RCVBUF);
    set(six, SOL_IPV6, IPV6_UNICAST_HOPS, 7);
    set(six, SOL_IPV6, IPV6_RECVPKTINFO, 1);
    const timeval time = {.tv_sec = 3, .tv_usec = 500000};
    SYS(::setsockopt(six, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    sock_filter accept_all = BPF_STMT(BPF_RET | BPF_K, 0xffff);
    const sock_fprog filter = {.len = 1, .filter = &accept_all};
    SYS(::setsockopt(mapped, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter));
    const int shared = SYS(::socket(AF_INET, SOCK_DGRAM, 0));
    const int shared_2 = SYS(::socket(AF_INET, SOCK_DGRAM, 0));
    for (const int fd : {shared, shared_2}) {
        set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        SYS(::bind(fd, Address("0.0.0.0", 4010).get(), sizeof(sockaddr_in)));
    }
    join(shared, SOL_IP, {"239.1.2.3", 0});
    join(shared, SOL_IP, {"239.1.2.4", 0});
    join(six, SOL_IPV6, {"ff02::1234", 0});
    set(shared, SOL_IP, IP_MULTICAST_TTL, 9);
    set(shared, SOL_IP, IP_MULTICAST_LOOP, 0);

    const int raw = SYS(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    const icmp_filter icmp = {.data = ~(1U << ICMP_ECHOREPLY)};
    SYS(::setsockopt(raw, SOL_RAW, ICMP_FILTER, &icmp, sizeof icmp));
    SYS(::connect(raw, Address("127.0.0.1", 0).get(), sizeof(sockaddr_in)));
    const int raw_six = SYS(::socket(AF_INET6, SOCK_RAW, 99));
    set(raw_six, SOL_SOCKET, SO_MARK, 77);
    scenario::write_file("/proc/sys/net/ipv4/ping_group_range", "0 100000");
    const int ping = SYS(::socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    SYS(::bind(ping, Address("127.0.0.1", 321).get(), sizeof(sockaddr_in)));

    const int mute = bound(SOCK_DGRAM, {"127.0.0.1", 4020}), deaf = bound(SOCK_DGRAM, {"127.0.0.1", 4021});
    SYS(::connect(mute, Address("127.0.0.1", 4021).get(), sizeof(sockaddr_in)));
    SYS(::connect(deaf, Address("127.0.0.1", 4020).get(), sizeof(sockaddr_in)));
    SYS(::shutdown(mute, SHUT_WR));
    SYS(::shutdown(deaf, SHUT_RD));
    const int light = ::socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE); // not in every kernel
    if (light >= 0) {
        SYS(::bind(light, Address("127.0.0.1", 4022).get(), sizeof(sockaddr_in)));
        set(light, IPPROTO_UDPLITE, 10 /* UDPLITE_SEND_CSCOV */, 12);
    }

    scenario::ready();
    scenario::wait();

    EQUAL(-1, ::send(mute, "x", 1, MSG_NOSIGNAL));
    EQUAL(EPIPE, errno);
    EQUAL(3, ::send(deaf, "yes", 3, 0));
    EQUAL(std::string("yes"), receive(mute));
    pollfd shut = {deaf, POLLRDHUP, 0};
    EQUAL(1, SYS(::poll(&shut, 1, 10000)));
    if (light >= 0) {
        EQUAL(12, get(light, IPPROTO_UDPLITE, 10));
        EQUAL(std::string("127.0.0.1 4022"), local_of(light));
        Address itself("127.0.0.1", 4022);
        EQUAL(5, ::sendto(light, "light", 5, 0, itself.get(), itself.size));
        EQUAL(std::string("light"), receive(light));
    }

    EQUAL(std::string("0.0.0.0 0"), local_of(unbound));
    EQUAL(O_NONBLOCK, SYS(::fcntl(unbound, F_GETFL)) & O_NONBLOCK);
    EQUAL(std::string("127.0.0.1 4001"), local_of(four));
    EQUAL(std::string("0.0.0.0 4002"), local_of(any));
    EQUAL(std::string("::1 4003"), local_of(six));
    EQUAL(std::string(":: 4004"), local_of(mapped));
    EQUAL(std::string("127.0.0.1 4005"), local_of(connected));
    EQUAL(std::string("127.0.0.1 4001"), remote_of(connected));
    EQUAL(std::string(std::strerror(ENOTCONN)), remote_of(four));

    Address from;
    EQUAL(std::string("one"), receive(four, 100, &from));
    EQUAL(std::string("127.0.0.2 4006"), from.text());
    EQUAL(std::string("two"), receive(four, 100, &from));
    EQUAL(std::string("127.0.0.1 4005"), from.text());
    EQUAL(std::string(), receive(four, 100, &from));
    EQUAL(std::string("127.0.0.2 4006"), from.text());
    CHECK(large == receive(four, 40000));
    nothing_unread(four);
    EQUAL(std::string("any"), receive(any, 100, &from));
    EQUAL(std::string("127.0.0.2 4006"), from.text());
    nothing_unread(any);
    EQUAL(std::string("mapped"), receive(mapped, 100, &from));
    EQUAL(std::string("::ffff:127.0.0.2 4006"), from.text());
    EQUAL(std::string("six"), receive(mapped, 100, &from));
    EQUAL(std::string("::1 4003"), from.text());
    nothing_unread(mapped);
    EQUAL(std::string("itself"), receive(six, 100, &from));
    EQUAL(std::string("::1 4004"), from.text());
    EQUAL(std::string("to the connected one"), receive(connected));
    nothing_unread(connected);
    send_text(connected, "after");
    EQUAL(std::string("after"), receive(four));
    const int stranger = bound(SOCK_DGRAM, {"127.0.0.1", 4099});
    send_to(stranger, "not for you", {"127.0.0.1", 4005}); // it is connected to another
    nothing_unread(connected);

    EQUAL(1, get(four, SOL_SOCKET, SO_BROADCAST));
    EQUAL(0x10, get(four, SOL_IP, IP_TOS));
    EQUAL(33, get(four, SOL_IP, IP_TTL));
    EQUAL(5, get(four, SOL_SOCKET, SO_PRIORITY));
    EQUAL(IP_PMTUDISC_DO, get(four, SOL_IP, IP_MTU_DISCOVER));
    EQUAL(0, get(four, SOL_IP, IP_FREEBIND));
    EQUAL(1, get(any, SOL_IP, IP_PKTINFO));
    EQUAL(buffer, get(any, SOL_SOCKET, SO_RCVBUF));
    EQUAL(other_buffer, get(four, SOL_SOCKET, SO_RCVBUF));
    EQUAL(SOCK_RCVBUF_LOCK, get(any, SOL_SOCKET, SO_BUF_LOCK));
    EQUAL(0, get(four, SOL_SOCKET, SO_BUF_LOCK));
    EQUAL(1, get(six, SOL_IPV6, IPV6_V6ONLY));
    EQUAL(7, get(six, SOL_IPV6, IPV6_UNICAST_HOPS));
    EQUAL(1, get(six, SOL_IPV6, IPV6_RECVPKTINFO));
    timeval found_time = {};
    socklen_t size = sizeof found_time;
    SYS(::getsockopt(six, SOL_SOCKET, SO_RCVTIMEO, &found_time, &size));
    CHECK(found_time.tv_sec == 3 && found_time.tv_usec / 1000 == 500);
    sock_filter found_filter = {};
    size = 1;
    SYS(::getsockopt(mapped, SOL_SOCKET, SO_GET_FILTER, &found_filter, &size));
    CHECK(std::memcmp(&found_filter, &accept_all, sizeof accept_all) == 0);
    EQUAL(std::string("0.0.0.0 4010"), local_of(shared));
    EQUAL(std::string("0.0.0.0 4010"), local_of(shared_2));
    EQUAL(9, get(shared, SOL_IP, IP_MULTICAST_TTL));
    EQUAL(0, get(shared, SOL_IP, IP_MULTICAST_LOOP));
    CHECK(is_member(shared, SOL_IP, {"239.1.2.3", 0}));
    CHECK(is_member(shared, SOL_IP, {"239.1.2.4", 0}));
    CHECK(!is_member(shared, SOL_IP, {"239.1.2.5", 0}));
    CHECK(!is_member(shared_2, SOL_IP, {"239.1.2.3", 0}));
    CHECK(is_member(six, SOL_IPV6, {"ff02::1234", 0}));

    icmp_filter found_icmp = {};
    size = sizeof found_icmp;
    SYS(::getsockopt(raw, SOL_RAW, ICMP_FILTER, &found_icmp, &size));
    EQUAL(icmp.data, found_icmp.data);
    send_text(raw, std::string("\0\0\0\0\0\0\0\0", 8)); // it knows its peer
    EQUAL(99, get(raw_six, SOL_SOCKET, SO_PROTOCOL));
    EQUAL(77, get(raw_six, SOL_SOCKET, SO_MARK));
    EQUAL(std::string("127.0.0.1 321"), local_of(ping));
    icmphdr echo = {};
    echo.type = ICMP_ECHO;
    send_to(ping, std::string(reinterpret_cast<const char *>(&echo), sizeof echo), {"127.0.0.1", 0});
    const std::string answer = receive(ping);
    EQUAL(sizeof echo, answer.size());
    EQUAL(ICMP_ECHOREPLY, answer[0]);
    scenario::pass();
}
