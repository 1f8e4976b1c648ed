// SPDX-License-Identifier: LGPL-2.1-or-later
// The program of outside.py: connected to a peer outside, on port 6001, as the first argument's file "mode" says.
#include "internet.h"

using scenario::Address;
using scenario::receive;
using scenario::send_text;

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string mode = scenario::read_file(scenario::path("mode"));
    const int listener = scenario::bound(SOCK_STREAM, {"127.0.0.1", 6002});
    SYS(::listen(listener, 5));
    Address address(mode == "hangup-six" || mode == "kept-six" ? "::1" : "127.0.0.1", 6001);
    const int fd = SYS(::socket(address.family(), SOCK_STREAM, 0));
    SYS(::connect(fd, address.get(), address.size));
    scenario::set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    send_text(fd, "hello");
    EQUAL(std::string("unread"), [&] { // it stays unread
        std::string text(6, '\0');
        EQUAL(6, ::recv(fd, text.data(), text.size(), MSG_PEEK | MSG_WAITALL));
        return text;
    }());
    if (mode == "ended") {
        pollfd ask = {fd, POLLRDHUP, 0};
        EQUAL(1, SYS(::poll(&ask, 1, 10000)));
    }
    std::string much(4000000, '\0');
    for (size_t i = 0; i < much.size(); ++i)
        much[i] = static_cast<char>(i * 7 % 251);
    size_t sent = 0;
    if (mode == "kept-busy") // until nobody has room for more
        for (ssize_t n = 0; n >= 0 && sent<much.size(); sent += n> 0 ? static_cast<size_t>(n) : 0)
            n = ::send(fd, much.data() + sent, much.size() - sent, MSG_DONTWAIT);
    if (mode == "kept-shut")
        SYS(::shutdown(fd, SHUT_WR));
    scenario::ready();
    scenario::wait();

    EQUAL(1, scenario::get(fd, IPPROTO_TCP, TCP_NODELAY));
    char byte = 0;
    if (mode == "reconnect") {
        pollfd ask = {fd, POLLOUT, 0};
        EQUAL(1, SYS(::poll(&ask, 1, 10000)));
        EQUAL(std::string("127.0.0.1 6001"), scenario::remote_of(fd));
        send_text(fd, "hello again");
        EQUAL(std::string("welcome"), receive(fd));
        scenario::pass();
    }
    EQUAL(std::string("unread"), receive(fd, 6));
    if (mode == "untouched" || mode == "kept-six") {
        send_text(fd, "hello again");
        EQUAL(std::string("welcome"), receive(fd));
    } else if (mode == "kept-busy") {
        EQUAL(std::string("meanwhile"), receive(fd, 9));
        for (ssize_t n = 0; sent < much.size(); sent += static_cast<size_t>(n))
            n = SYS(::send(fd, much.data() + sent, much.size() - sent, 0));
    } else if (mode == "kept-half-ended") {
        EQUAL(std::string(), receive(fd));
        send_text(fd, "hello again");
    } else if (mode == "kept-shut") {
        EQUAL(-1, ::send(fd, "x", 1, MSG_NOSIGNAL));
        EQUAL(std::string("welcome"), receive(fd));
    } else if (mode == "ended") {
        EQUAL(std::string(), receive(fd));
        (void)::send(fd, "x", 1, MSG_NOSIGNAL);
        pollfd ask = {fd, 0, 0};
        EQUAL(1, SYS(::poll(&ask, 1, 10000)));
        EQUAL(-1, ::send(fd, "x", 1, MSG_NOSIGNAL));
    } else {
        EQUAL(-1, ::recv(fd, &byte, 1, 0));
        EQUAL(ECONNRESET, errno);
        EQUAL(0, ::recv(fd, &byte, 1, 0));
        EQUAL(-1, ::send(fd, "x", 1, MSG_NOSIGNAL));
        EQUAL(EPIPE, errno);
    }
    scenario::pass();
}
