// SPDX-License-Identifier: LGPL-2.1-or-later
// An epoll descriptor that is on its way in a socket: no process has it; what it watches was closed under the number
// that it was added as, or is on its way, too.
#include "scenario.h"

#include <array>
#include <sys/epoll.h>
#include <sys/socket.h>

using namespace scenario;

namespace {

struct Parcel {
    std::array<int, 2> files = {-1, -1};
    char byte = '#';
    iovec data = {&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    msghdr message = {};
    Parcel() {
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
    }
};

void send(int socket, std::array<int, 2> files) {
    Parcel parcel;
    cmsghdr *head = CMSG_FIRSTHDR(&parcel.message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof files);
    std::memcpy(CMSG_DATA(head), files.data(), sizeof files);
    EQUAL(1, SYS(::sendmsg(socket, &parcel.message, 0)));
}

std::array<int, 2> receive(int socket) {
    Parcel parcel;
    EQUAL(1, SYS(::recvmsg(socket, &parcel.message, 0)));
    const cmsghdr *head = CMSG_FIRSTHDR(&parcel.message);
    CHECK(head != nullptr);
    std::memcpy(parcel.files.data(), CMSG_DATA(head), sizeof parcel.files);
    return parcel.files;
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    int pair[2];
    int pipe[2];
    SYS(::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    SYS(::pipe(pipe));
    const int poll = SYS(::epoll_create1(0));
    epoll_event event = {EPOLLIN, {.u64 = 1}};
    SYS(::epoll_ctl(poll, EPOLL_CTL_ADD, pair[1], &event)); // which also carries it
    event.data.u64 = 2;
    SYS(::epoll_ctl(poll, EPOLL_CTL_ADD, pipe[0], &event));
    const int number = SYS(::dup3(pair[1], 300, 0));
    event.data.u64 = 3;
    SYS(::epoll_ctl(poll, EPOLL_CTL_ADD, number, &event));
    SYS(::close(number));
    send(pair[0], {poll, pipe[0]});
    SYS(::close(poll));
    SYS(::close(pipe[0]));
    ready();
    wait();
    const auto files = receive(pair[1]);
    std::array<epoll_event, 4> found = {};
    EQUAL(0, SYS(::epoll_wait(files[0], found.data(), 4, 0)));
    EQUAL(1, SYS(::write(pipe[1], "x", 1)));
    EQUAL(1, SYS(::epoll_wait(files[0], found.data(), 4, 1000)));
    EQUAL(2U, found[0].data.u64);
    char byte = 0;
    EQUAL(1, SYS(::read(files[1], &byte, 1)));
    EQUAL(1, SYS(::send(pair[0], "y", 1, 0)));
    EQUAL(2, SYS(::epoll_wait(files[0], found.data(), 4, 1000)));
    EQUAL(4U, found[0].data.u64 + found[1].data.u64);
    pass();
}
