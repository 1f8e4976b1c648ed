// SPDX-License-Identifier: LGPL-2.1-or-later
// TCP within the session: bound, listening with waiting connections, connected with unread and unsent data, half closed
// both ways, over, reset; IPv4, IPv6, IPv4 in IPv6, a socket that is its own peer; options.
#include "internet.h"

using scenario::Address;
using scenario::bound;
using scenario::get;
using scenario::local_of;
using scenario::nothing_unread;
using scenario::receive;
using scenario::remote_of;
using scenario::send_text;
using scenario::set;

namespace {

struct Pair {
    int client = -1, server = -1;
};

Pair connected(int listener, const std::string &host, int port) {
    Address address(host, port);
    Pair pair;
    pair.client = SYS(::socket(address.family(), SOCK_STREAM, 0));
    SYS(::connect(pair.client, address.get(), address.size));
    pair.server = SYS(::accept(listener, nullptr, nullptr));
    return pair;
}

char pattern(std::size_t position) { return static_cast<char>(position * 7 + position / 251); }

// Until nothing fits any more
std::size_t fill(int fd) {
    std::string block(10007, '\0');
    std::size_t total = 0;
    for (;;) {
        for (std::size_t i = 0; i < block.size(); ++i)
            block[i] = pattern(total + i);
        const ssize_t sent = ::send(fd, block.data(), block.size(), MSG_DONTWAIT);
        if (sent < 0)
            break;
        total += static_cast<std::size_t>(sent);
    }
    EQUAL(EAGAIN, errno);
    return total;
}

void check_filled(int fd, std::size_t total) {
    std::size_t seen = 0;
    while (seen < total) {
        const std::string got = receive(fd, 65536);
        CHECK(!got.empty());
        for (const char byte : got)
            EQUAL(pattern(seen++), byte);
    }
    EQUAL(total, seen);
}

void works(const Pair &pair) {
    send_text(pair.client, "to the server");
    EQUAL(std::string("to the server"), receive(pair.server));
    send_text(pair.server, "to the client");
    EQUAL(std::string("to the client"), receive(pair.client));
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int idle = SYS(::socket(AF_INET, SOCK_STREAM, 0));
    const int named = bound(SOCK_STREAM, {"127.0.0.1", 5001});
    const int listener = bound(SOCK_STREAM, {"127.0.0.1", 5002});
    SYS(::listen(listener, 17));
    const int listener_six = bound(SOCK_STREAM, {"::", 5003});
    set(listener_six, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
    SYS(::listen(listener_six, 5));

    int first = SYS(::socket(AF_INET, SOCK_STREAM, 0)), second = SYS(::socket(AF_INET, SOCK_STREAM, 0));
    for (const int shared : {first, second}) { // a port that two listen at, one of which has given up the right since
        set(shared, SOL_SOCKET, SO_REUSEPORT, 1);
        SYS(::bind(shared, Address("127.0.0.1", 5004).get(), sizeof(sockaddr_in)));
        SYS(::listen(shared, 5));
    }
    set(first, SOL_SOCKET, SO_REUSEPORT, 0);

    const Pair plain = connected(listener, "127.0.0.1", 5002);
    const std::string client_name = local_of(plain.client);
    set(plain.client, IPPROTO_TCP, TCP_NODELAY, 1);
    set(plain.client, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(plain.client, IPPROTO_TCP, TCP_KEEPIDLE, 77);
    set(plain.server, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
    const Pair unread = connected(listener, "127.0.0.1", 5002);
    send_text(unread.client, "unread by the server");
    send_text(unread.server, "unread by the client");
    const Pair full = connected(listener, "127.0.0.1", 5002);
    set(full.server, SOL_SOCKET, SO_RCVBUF, 30000);
    const std::size_t to_server = fill(full.client);
    const std::size_t to_client = fill(full.server);
    const Pair six = connected(listener_six, "::1", 5003);
    send_text(six.client, "six");
    const Pair mapped = connected(listener_six, "127.0.0.1", 5003);
    send_text(mapped.server, "mapped");

    const Pair half = connected(listener, "127.0.0.1", 5002); // the client has ended its direction
    send_text(half.client, "last words");
    SYS(::shutdown(half.client, SHUT_WR));
    const Pair half_full = connected(listener, "127.0.0.1", 5002); // an end that waits behind data
    const std::size_t before_end = fill(half_full.server);
    SYS(::shutdown(half_full.server, SHUT_WR));
    const Pair deaf = connected(listener, "127.0.0.1", 5002);
    SYS(::shutdown(deaf.server, SHUT_RD));
    const Pair over = connected(listener, "127.0.0.1", 5002); // both have ended
    send_text(over.client, "the very last");
    SYS(::shutdown(over.client, SHUT_WR));
    SYS(::shutdown(over.server, SHUT_WR));
    const Pair left = connected(listener, "127.0.0.1", 5002); // the other end has gone
    send_text(left.client, "good-bye");
    SYS(::close(left.client));
    const Pair reset = connected(listener, "127.0.0.1", 5002);
    send_text(reset.server, "nobody reads this");
    const linger at_once = {.l_onoff = 1, .l_linger = 0};
    SYS(::setsockopt(reset.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    SYS(::close(reset.client));
    const int itself = bound(SOCK_STREAM, {"127.0.0.1", 5010});
    SYS(::connect(itself, Address("127.0.0.1", 5010).get(), sizeof(sockaddr_in)));
    send_text(itself, "to myself");
    Address address("127.0.0.1", 5002);
    const int waiting = SYS(::socket(AF_INET, SOCK_STREAM, 0));
    SYS(::connect(waiting, address.get(), address.size));
    const std::string waiting_name = local_of(waiting);
    const int waiting_half = SYS(::socket(AF_INET, SOCK_STREAM, 0));
    SYS(::connect(waiting_half, address.get(), address.size));
    SYS(::shutdown(waiting_half, SHUT_WR));

    scenario::ready();
    scenario::wait();

    EQUAL(std::string("0.0.0.0 0"), local_of(idle));
    EQUAL(std::string("127.0.0.1 5001"), local_of(named));
    EQUAL(0, get(named, SOL_SOCKET, SO_ACCEPTCONN));
    EQUAL(1, get(listener, SOL_SOCKET, SO_ACCEPTCONN));
    EQUAL(0, get(first, SOL_SOCKET, SO_REUSEPORT));
    EQUAL(1, get(second, SOL_SOCKET, SO_REUSEPORT));
    EQUAL(0, get(listener, SOL_SOCKET, SO_REUSEADDR));
    tcp_info info = {};
    socklen_t size = sizeof info;
    SYS(::getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size));
    EQUAL(17U, info.tcpi_sacked); // the backlog

    EQUAL(client_name, local_of(plain.client));
    EQUAL(client_name, remote_of(plain.server));
    EQUAL(std::string("127.0.0.1 5002"), local_of(plain.server));
    EQUAL(std::string("127.0.0.1 5002"), remote_of(plain.client));
    EQUAL(1, get(plain.client, IPPROTO_TCP, TCP_NODELAY));
    EQUAL(0, get(plain.server, IPPROTO_TCP, TCP_NODELAY));
    EQUAL(1, get(plain.client, SOL_SOCKET, SO_KEEPALIVE));
    EQUAL(77, get(plain.client, IPPROTO_TCP, TCP_KEEPIDLE));
    EQUAL(5000, get(plain.server, IPPROTO_TCP, TCP_USER_TIMEOUT));
    EQUAL(0, get(plain.client, SOL_SOCKET, SO_REUSEADDR));
    EQUAL(0, get(plain.client, SOL_SOCKET, SO_BUF_LOCK));
    EQUAL(0, get(plain.client, IPPROTO_TCP, TCP_REPAIR));
    nothing_unread(plain.client);
    works(plain);

    EQUAL(std::string("unread by the server"), receive(unread.server));
    EQUAL(std::string("unread by the client"), receive(unread.client));
    works(unread);
    check_filled(full.server, to_server);
    check_filled(full.client, to_client);
    works(full);
    EQUAL(std::string("six"), receive(six.server));
    works(six);
    EQUAL(std::string("::ffff:127.0.0.1 5003"), local_of(mapped.server));
    EQUAL(std::string("mapped"), receive(mapped.client));
    works(mapped);

    EQUAL(std::string("last words"), receive(half.server));
    EQUAL(std::string(), receive(half.server));
    send_text(half.server, "answer");
    EQUAL(std::string("answer"), receive(half.client));
    EQUAL(-1, ::send(half.client, "x", 1, MSG_NOSIGNAL));
    EQUAL(EPIPE, errno);
    check_filled(half_full.client, before_end);
    EQUAL(std::string(), receive(half_full.client));
    send_text(half_full.client, "still open");
    EQUAL(std::string("still open"), receive(half_full.server));
    EQUAL(std::string(), receive(deaf.server));
    send_text(deaf.server, "it can speak");
    EQUAL(std::string("it can speak"), receive(deaf.client));
    EQUAL(std::string("the very last"), receive(over.server));
    EQUAL(std::string(), receive(over.server));
    EQUAL(std::string(), receive(over.client));
    EQUAL(-1, ::send(over.client, "x", 1, MSG_NOSIGNAL));
    EQUAL(EPIPE, errno);
    EQUAL(std::string("good-bye"), receive(left.server));
    EQUAL(std::string(), receive(left.server));
    char byte = 0;
    EQUAL(-1, ::recv(reset.server, &byte, 1, MSG_DONTWAIT));
    EQUAL(ECONNRESET, errno);
    EQUAL(std::string("to myself"), receive(itself));
    send_text(itself, "again");
    EQUAL(std::string("again"), receive(itself));

    Address peer;
    const int accepted = SYS(::accept(listener, peer.get(), &peer.size));
    EQUAL(waiting_name, peer.text());
    works({.client = waiting, .server = accepted});
    const int accepted_half = SYS(::accept(listener, nullptr, nullptr));
    EQUAL(std::string(), receive(accepted_half));
    send_text(accepted_half, "late");
    EQUAL(std::string("late"), receive(waiting_half));
    works(connected(listener, "127.0.0.1", 5002));
    works(connected(listener_six, "::1", 5003));
    scenario::pass();
}
