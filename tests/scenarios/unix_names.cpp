// SPDX-License-Identifier: LGPL-2.1-or-later
// Unix sockets by their names: abstract, unlinked, datagrams with senders; half-closed; sockets in flight within
// sockets in flight.
#include "scenario.h"

#include <sys/socket.h>
#include <sys/un.h>

namespace {

struct Name {
    sockaddr_un address = {};
    socklen_t size = 0;
};

Name named(const std::string &text) {
    Name name;
    name.address.sun_family = AF_UNIX;
    std::memcpy(name.address.sun_path, text.data(), text.size());
    name.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + (text[0] == '\0' ? 0 : 1));
    return name;
}

std::string name_of(int fd, int (*ask)(int, sockaddr *, socklen_t *)) {
    sockaddr_un address = {};
    socklen_t size = sizeof address;
    SYS(ask(fd, reinterpret_cast<sockaddr *>(&address), &size));
    const size_t length = size - offsetof(sockaddr_un, sun_path);
    return {address.sun_path, address.sun_path[0] == '\0' ? length : ::strnlen(address.sun_path, length)};
}

int bound(int type, const std::string &text) {
    const int fd = SYS(::socket(AF_UNIX, type, 0));
    const Name name = named(text);
    SYS(::bind(fd, reinterpret_cast<const sockaddr *>(&name.address), name.size));
    return fd;
}

void connect_to(int fd, const std::string &text) {
    const Name name = named(text);
    SYS(::connect(fd, reinterpret_cast<const sockaddr *>(&name.address), name.size));
}

std::string receive(int fd, std::string *sender = nullptr) {
    char buffer[100];
    sockaddr_un address = {};
    socklen_t size = sizeof address;
    const ssize_t got =
        SYS(::recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr *>(&address), &size));
    if (sender != nullptr)
        *sender = address.sun_path;
    return {buffer, static_cast<size_t>(got)};
}

void send_descriptors(int to, const int *fds, size_t count) {
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
    char byte = 'x';
    iovec data = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    EQUAL(1, SYS(::sendmsg(to, &message, 0)));
}

int receive_descriptor(int from) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    char byte = 0;
    iovec data = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    EQUAL(1, SYS(::recvmsg(from, &message, MSG_DONTWAIT)));
    int fd = -1;
    CHECK(CMSG_FIRSTHDR(&message) != nullptr);
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string path = scenario::path("gone"),
                      abstract = std::string("\0abeyance-", 10) + std::to_string(::getpid());
    const int gone = bound(SOCK_STREAM, path);
    SYS(::listen(gone, 3));
    const int client = SYS(::socket(AF_UNIX, SOCK_STREAM, 0));
    connect_to(client, path);
    const int server = SYS(::accept(gone, nullptr, nullptr));
    SYS(::unlink(path.c_str()));
    EQUAL(5, ::send(server, "later", 5, 0));
    SYS(::shutdown(server, SHUT_RDWR)); // half closed: the client has unread data, and can send no more

    const int hidden = bound(SOCK_DGRAM, abstract);
    const int here = bound(SOCK_DGRAM, scenario::path("here"));
    connect_to(here, abstract);
    EQUAL(3, ::send(here, "one", 3, 0));
    EQUAL(0, ::send(here, "", 0, 0));
    const int hidden_stream = bound(SOCK_SEQPACKET, abstract + "s");
    SYS(::listen(hidden_stream, 1));

    // names that lead nowhere any more, or to something else, with senders and unread datagrams
    const std::string taken = scenario::path("taken");
    const int ghost = bound(SOCK_DGRAM, taken), to_ghost = SYS(::socket(AF_UNIX, SOCK_DGRAM, 0));
    connect_to(to_ghost, taken);
    EQUAL(5, ::send(to_ghost, "ghost", 5, 0));
    SYS(::unlink(taken.c_str()));
    const int second = bound(SOCK_DGRAM, taken), to_second = SYS(::socket(AF_UNIX, SOCK_DGRAM, 0));
    connect_to(to_second, taken);
    SYS(::unlink(taken.c_str()));
    SYS(::mkfifo(taken.c_str(), 0600));
    // a relative name
    SYS(::chdir(scenario::directory.c_str()));
    const int relative = bound(SOCK_STREAM, "relative");
    SYS(::listen(relative, 2));
    const int waiting = SYS(::socket(AF_UNIX, SOCK_STREAM, 0)); // closes before it is accepted
    connect_to(waiting, "relative");
    SYS(::close(waiting));

    int outer[2], inner[2], core[2];
    SYS(::socketpair(AF_UNIX, SOCK_STREAM, 0, outer));
    SYS(::socketpair(AF_UNIX, SOCK_STREAM, 0, inner));
    SYS(::socketpair(AF_UNIX, SOCK_DGRAM, 0, core));
    EQUAL(4, ::send(core[0], "core", 4, 0));
    send_descriptors(inner[0], &core[1], 1);
    send_descriptors(outer[0], &inner[1], 1);
    SYS(::close(inner[1])); // now only within outer's queue
    SYS(::close(core[1]));  // now only within inner's
    scenario::ready();
    scenario::wait();

    EQUAL(path, name_of(gone, ::getsockname));
    EQUAL(path, name_of(client, ::getpeername));
    CHECK(::access(path.c_str(), F_OK) != 0);
    EQUAL(std::string("later"), receive(client));
    EQUAL(std::string(""), receive(client));
    EQUAL(-1, ::send(client, "x", 1, MSG_NOSIGNAL));
    EQUAL(EPIPE, errno);
    EQUAL(abstract, name_of(hidden, ::getsockname));
    std::string sender;
    EQUAL(std::string("one"), receive(hidden, &sender));
    EQUAL(scenario::path("here"), sender);
    EQUAL(std::string(""), receive(hidden));
    EQUAL(4, ::send(here, "more", 4, 0));
    EQUAL(std::string("more"), receive(hidden));
    EQUAL(abstract, name_of(here, ::getpeername));
    const int packets = SYS(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    connect_to(packets, abstract + "s");
    const int accepted = SYS(::accept(hidden_stream, nullptr, nullptr));
    EQUAL(6, ::send(packets, "packet", 6, 0));
    EQUAL(std::string("packet"), receive(accepted));

    EQUAL(std::string("ghost"), receive(ghost));
    EQUAL(3, ::send(to_ghost, "one", 3, 0));
    EQUAL(3, ::send(to_second, "two", 3, 0));
    EQUAL(std::string("one"), receive(ghost));
    EQUAL(std::string("two"), receive(second));
    EQUAL(taken, name_of(to_second, ::getpeername));
    struct stat st = {};
    SYS(::stat(taken.c_str(), &st));
    CHECK(S_ISFIFO(st.st_mode));
    EQUAL(std::string("relative"), name_of(relative, ::getsockname));
    EQUAL(std::string(""), receive(SYS(::accept(relative, nullptr, nullptr))));
    const int by_name = SYS(::socket(AF_UNIX, SOCK_STREAM, 0));
    connect_to(by_name, "relative");
    EQUAL(2, ::send(by_name, "hi", 2, 0));
    EQUAL(std::string("hi"), receive(SYS(::accept(relative, nullptr, nullptr))));

    const int found_inner = receive_descriptor(outer[1]);
    const int found_core = receive_descriptor(found_inner);
    EQUAL(std::string("core"), receive(found_core));
    EQUAL(2, ::send(core[0], "ok", 2, 0));
    EQUAL(std::string("ok"), receive(found_core));

    ucred who = {};
    socklen_t size = sizeof who;
    SYS(::getsockopt(client, SOL_SOCKET, SO_PEERCRED, &who, &size));
    EQUAL(::getuid(), who.uid);
    EQUAL(::getgid(), who.gid);
    scenario::pass();
}
