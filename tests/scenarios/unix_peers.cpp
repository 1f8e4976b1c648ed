// SPDX-License-Identifier: LGPL-2.1-or-later
// Whom unix sockets tell to be at the other end (unix(7)): process, user and groups of who called listen(2), connect(2)
// or socketpair(2), whoever has the socket by now, also when that process has ended.
#include "scenario.h"

#include <cstddef>
#include <functional>
#include <vector>

#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

using namespace scenario;

namespace {

constexpr uid_t some_user = 54321;
constexpr gid_t some_group = 54322;
const std::vector<gid_t> some_groups = {7, 1007}; // NOLINT(cert-err58-cpp)

std::string peer_of(int fd) {
    ucred peer = {};
    socklen_t size = sizeof peer;
    SYS(::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
    gid_t groups[64];
    size = sizeof groups;
    SYS(::getsockopt(fd, SOL_SOCKET, 59 /* SO_PEERGROUPS */, groups, &size));
    std::string text = "process " + std::to_string(peer.pid) + ", user " + std::to_string(peer.uid) + ", group " +
                       std::to_string(peer.gid);
    for (size_t i = 0; i < size / sizeof(gid_t); ++i)
        text += " " + std::to_string(groups[i]);
    return text;
}

// The process that SO_PEERPIDFD leads to (Linux 6.5); 0 where there is no such option
long process_behind(int fd) {
    int handle = -1;
    socklen_t size = sizeof handle;
    if (::getsockopt(fd, SOL_SOCKET, 77 /* SO_PEERPIDFD */, &handle, &size) != 0)
        return errno == ENOPROTOOPT ? 0 : -errno;
    const std::string info = read_file("/proc/self/fdinfo/" + std::to_string(handle));
    ::close(handle);
    return std::atol(info.substr(info.find("\nPid:") + 5).c_str());
}

struct Address {
    sockaddr_un address = {};
    socklen_t size;
    explicit Address(const std::string &name)
        : size(static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() +
                                      (name.starts_with('\0') ? 0 : 1))) {
        address.sun_family = AF_UNIX;
        name.copy(address.sun_path, sizeof address.sun_path);
    }
    [[nodiscard]] const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&address); }
};

// A child that does this, as this user, and lives on.
pid_t child_that(bool as_user, const std::function<void()> &does) {
    int done[2];
    SYS(::pipe(done));
    const pid_t child = fork_child();
    if (child == 0) {
        if (as_user) {
            SYS(::setgroups(some_groups.size(), some_groups.data()));
            SYS(::setresgid(some_group, some_group, some_group));
            SYS(::setresuid(some_user, some_user, some_user));
        }
        does();
        SYS(::write(done[1], "x", 1));
        ::close(done[0]);
        ::close(done[1]);
        for (;;)
            ::pause();
    }
    char byte = 0;
    EQUAL(1, SYS(::read(done[0], &byte, 1)));
    ::close(done[0]);
    ::close(done[1]);
    return child;
}

std::vector<int> sockets;    // NOLINT
std::vector<pid_t> children; // NOLINT

int keep(int fd) {
    sockets.push_back(fd);
    return fd;
}

// A child that does this, as this user, and has ended.
void former_child_that(bool as_user, const std::function<void()> &does, pid_t *id = nullptr) {
    const pid_t child = child_that(as_user, does);
    if (id != nullptr)
        *id = child;
    SYS(::kill(child, SIGKILL));
    EQUAL(128 + SIGKILL, exit_status(child));
}

// One process listens, another connects; we have all the ends.
void connection(int type, const std::string &name, bool former = false) {
    const int listener = keep(SYS(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)));
    const int client = keep(SYS(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)));
    const Address address(name);
    ::umask(0);
    SYS(::bind(listener, address.get(), address.size));
    const auto listens = [&] { SYS(::listen(listener, 5)); };
    const auto connects = [&] { SYS(::connect(client, address.get(), address.size)); };
    if (former) {
        former_child_that(true, listens);
        former_child_that(true, connects);
    } else {
        children.push_back(child_that(false, listens));
        children.push_back(child_that(true, connects));
    }
    keep(SYS(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)));
    EQUAL(std::string::npos, peer_of(client).find("process " + std::to_string(::getpid()) + ","));
}

// Who has sent the datagram that waits.
pid_t sender_of(int fd) {
    char text[16];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))] = {};
    iovec part = {text, sizeof text};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    EQUAL(5, ::recvmsg(fd, &message, MSG_DONTWAIT));
    const cmsghdr *ids = CMSG_FIRSTHDR(&message);
    CHECK(ids != nullptr && ids->cmsg_type == SCM_CREDENTIALS);
    return reinterpret_cast<const ucred *>(CMSG_DATA(ids))->pid;
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    SYS(::chmod(directory.c_str(), 0777));
    connection(SOCK_STREAM, path("stream"));
    connection(SOCK_SEQPACKET, path("records"));
    connection(SOCK_STREAM, std::string("\0scenario-unix_peers-", 21) + std::to_string(::getpid()));
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
        int ends[2];
        SYS(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends));
        children.push_back(child_that(false, [] {})); // somebody else has it, too
        keep(ends[0]);
        keep(ends[1]);
    }
    connection(SOCK_STREAM, path("formerly"), true);
    connection(SOCK_SEQPACKET, std::string("\0scenario-unix_peers-former-", 28) + std::to_string(::getpid()), true);
    // is not accepted; only we have it
    const int waiting = keep(SYS(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    const Address address(path("stream"));
    SYS(::connect(waiting, address.get(), address.size));
    int letters[2];
    const int wanted = 1;
    SYS(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, letters));
    SYS(::setsockopt(letters[0], SOL_SOCKET, SO_PASSCRED, &wanted, sizeof wanted));
    pid_t sender = 0;
    former_child_that(
        true, [&] { SYS(::send(letters[1], "hello", 5, 0)); }, &sender);
    std::vector<std::string> peers;
    std::vector<long> processes;
    for (const int fd : sockets) {
        peers.push_back(peer_of(fd));
        processes.push_back(process_behind(fd));
    }
    ready();
    wait();
    for (size_t i = 0; i < sockets.size(); ++i) {
        EQUAL(peers[i], peer_of(sockets[i]));
        EQUAL(processes[i], process_behind(sockets[i]));
    }
    EQUAL(sender, sender_of(letters[0]));
    const int accepted = SYS(::accept4(sockets[0], nullptr, nullptr, SOCK_CLOEXEC));
    const std::string own = "process " + std::to_string(::getpid()) + ", user 0, group 0";
    EQUAL(own, peer_of(accepted).substr(0, own.size()));
    // who comes now is told the same of the listener
    const int later = SYS(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    SYS(::connect(later, address.get(), address.size));
    EQUAL(peers[1], peer_of(later));
    for (const pid_t child : children) {
        SYS(::kill(child, SIGKILL));
        EQUAL(128 + SIGKILL, exit_status(child));
    }
    pass();
}
