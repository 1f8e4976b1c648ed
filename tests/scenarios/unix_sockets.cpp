// SPDX-License-Identifier: LGPL-2.1-or-later
// Unix sockets: pairs with queued data both ways, message borders, a half that was shut down, descriptors in flight;
// a listening socket with a connection nobody has accepted yet.
#include "scenario.h"

#include <sys/socket.h>
#include <sys/un.h>

namespace {

std::string receive(int fd) {
    char buffer[1000];
    const ssize_t got = SYS(::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
    return {buffer, static_cast<std::size_t>(got)};
}

void send_text(int fd, const std::string &text) { EQUAL(text.size(), ::send(fd, text.data(), text.size(), 0)); }

int connected(const sockaddr_un &address) {
    const int fd = SYS(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    SYS(::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof address));
    return fd;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    int stream[2];
    int datagram[2];
    int packet[2];
    SYS(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, stream));
    SYS(::socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram));
    SYS(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packet));
    const int one = 1;
    SYS(::setsockopt(datagram[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    send_text(stream[0], "to the right");
    send_text(stream[1], "to the left");
    for (const char *text : {"first", "", "third"})
        send_text(datagram[1], text);
    for (const char *text : {"packet 1", "packet 22"})
        send_text(packet[0], text);
    SYS(::shutdown(packet[0], SHUT_WR));

    int ends[2]; // only in flight: its numbers are closed
    SYS(::pipe(ends));
    EQUAL(7, ::write(ends[1], "inside!", 7));
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    char byte = '#';
    iovec data = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof ends);
    std::memcpy(CMSG_DATA(head), ends, sizeof ends);
    int carrier[2];
    SYS(::socketpair(AF_UNIX, SOCK_STREAM, 0, carrier));
    EQUAL(1, SYS(::sendmsg(carrier[0], &message, 0)));
    SYS(::close(ends[0]));
    SYS(::close(ends[1]));

    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, scenario::path("socket").c_str(), sizeof address.sun_path - 1);
    const int listener = SYS(::socket(AF_UNIX, SOCK_STREAM, 0));
    SYS(::bind(listener, reinterpret_cast<const sockaddr *>(&address), sizeof address));
    SYS(::listen(listener, 5));
    const int accepted_peer = connected(address);
    const int accepted = SYS(::accept(listener, nullptr, nullptr));
    send_text(accepted_peer, "accepted");
    const int waiting = connected(address);
    scenario::ready();
    scenario::wait();

    EQUAL(std::string("to the right"), receive(stream[1]));
    EQUAL(std::string("to the left"), receive(stream[0]));
    EQUAL(-1, ::recv(stream[0], &byte, 1, 0));
    EQUAL(EAGAIN, errno);
    for (const char *text : {"first", "", "third"})
        EQUAL(std::string(text), receive(datagram[0]));
    for (const char *text : {"packet 1", "packet 22", ""})
        EQUAL(std::string(text), receive(packet[1]));
    send_text(packet[1], "back");
    EQUAL(std::string("back"), receive(packet[0]));
    int found = 0;
    socklen_t size = sizeof found;
    SYS(::getsockopt(datagram[0], SOL_SOCKET, SO_PASSCRED, &found, &size));
    EQUAL(1, found);
    EQUAL(FD_CLOEXEC, ::fcntl(packet[1], F_GETFD));

    std::memset(control, 0, sizeof control);
    message.msg_controllen = sizeof control;
    EQUAL(1, SYS(::recvmsg(carrier[1], &message, MSG_DONTWAIT)));
    EQUAL('#', byte);
    head = CMSG_FIRSTHDR(&message);
    CHECK(head != nullptr && head->cmsg_len == CMSG_LEN(sizeof ends));
    std::memcpy(ends, CMSG_DATA(head), sizeof ends);
    char text[8] = {};
    EQUAL(7, ::read(ends[0], text, 7));
    EQUAL(std::string("inside!"), std::string(text));
    EQUAL(1, ::write(ends[1], "x", 1));

    EQUAL(std::string("accepted"), receive(accepted));
    send_text(accepted, "answer");
    EQUAL(std::string("answer"), receive(accepted_peer));
    SYS(::fcntl(listener, F_SETFL, O_NONBLOCK));
    const int second = SYS(::accept(listener, nullptr, nullptr));
    send_text(waiting, "waiting");
    EQUAL(std::string("waiting"), receive(second));
    send_text(second, "late");
    EQUAL(std::string("late"), receive(waiting));
    const int third = connected(address); // the name still leads to us
    const int third_accepted = SYS(::accept(listener, nullptr, nullptr));
    send_text(third, "new");
    EQUAL(std::string("new"), receive(third_accepted));
    scenario::pass();
}
