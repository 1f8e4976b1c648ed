// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes in network namespaces of their own that have nothing but a loopback device, up and down, with settings; one
// belongs to a user namespace.
#include "scenario.h"

#include <cstring>

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace {

struct Pipe {
    int ends[2] = {};
    Pipe() { SYS(::pipe(ends)); }
    void tell() const { SYS(::write(ends[1], "x", 1)); }
    void wait() const {
        char byte = 0;
        ssize_t got = 0;
        while ((got = ::read(ends[0], &byte, 1)) < 0)
            EQUAL(EINTR, errno);
        EQUAL(1, got);
    }
};

// Whether it was up; `raise`: is up from now on.
bool loopback(bool raise) {
    const int socket = SYS(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = {};
    std::memcpy(&request.ifr_name, "lo", 3);
    SYS(::ioctl(socket, SIOCGIFFLAGS, &request));
    const bool was = (request.ifr_flags & IFF_UP) != 0;
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (raise)
        SYS(::ioctl(socket, SIOCSIFFLAGS, &request));
    ::close(socket);
    return was;
}

// A datagram to ourselves.
int to_itself() {
    const int socket = SYS(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(9);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SYS(::bind(socket, reinterpret_cast<sockaddr *>(&address), sizeof address));
    const ssize_t sent = ::sendto(socket, "x", 1, 0, reinterpret_cast<sockaddr *>(&address), sizeof address);
    const int error = sent < 0 ? errno : 0;
    ::close(socket);
    return error;
}

ino_t network_of(const std::string &pid) {
    struct stat st = {};
    SYS(::stat(("/proc/" + pid + "/ns/net").c_str(), &st));
    return st.st_ino;
}

constexpr const char *range = "/proc/sys/net/ipv4/ip_local_port_range",
                     *forward = "/proc/sys/net/ipv4/conf/lo/forwarding";

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const Pipe ready, go;
    const std::string outer_range = scenario::read_file(range);
    const pid_t up = scenario::fork_child();
    if (up == 0) {
        SYS(::unshare(CLONE_NEWNET));
        EQUAL(false, loopback(true));
        scenario::write_file(range, "20000 30000");
        scenario::write_file(forward, "1");
        ready.tell();
        go.wait();
        EQUAL(true, loopback(false));
        EQUAL(0, to_itself());
        EQUAL(std::string("20000\t30000\n"), scenario::read_file(range));
        EQUAL(std::string("1\n"), scenario::read_file(forward));
        ::_exit(0);
    }
    const pid_t down = scenario::fork_child();
    if (down == 0) {
        SYS(::unshare(CLONE_NEWUSER | CLONE_NEWNET));
        scenario::write_file("/proc/self/uid_map", "0 0 1\n");
        ready.tell();
        go.wait();
        EQUAL(false, loopback(false));
        EQUAL(ENETUNREACH, to_itself());
        EQUAL(false, loopback(true)); // it may
        EQUAL(0, to_itself());
        ::_exit(0);
    }
    ready.wait();
    ready.wait();
    scenario::ready();
    scenario::wait();

    EQUAL(true, loopback(false));
    EQUAL(outer_range, scenario::read_file(range));
    CHECK(network_of("self") != network_of(std::to_string(up)));
    CHECK(network_of("self") != network_of(std::to_string(down)));
    CHECK(network_of(std::to_string(up)) != network_of(std::to_string(down)));
    go.tell();
    go.tell();
    EQUAL(0, scenario::exit_status(up));
    EQUAL(0, scenario::exit_status(down));
    scenario::pass();
}
