// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Short hands for scenarios of internet sockets. Each runs in a network namespace of its own, so ports are free.

#include "scenario.h"

#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

namespace scenario {

struct Address {
    sockaddr_storage storage = {};
    socklen_t size = sizeof storage;

    Address() = default;
    Address(const std::string &host, int port) {
        auto &four = reinterpret_cast<sockaddr_in &>(storage);
        auto &six = reinterpret_cast<sockaddr_in6 &>(storage);
        if (::inet_pton(AF_INET, host.c_str(), &four.sin_addr) == 1) {
            four.sin_family = AF_INET;
            four.sin_port = htons(static_cast<uint16_t>(port));
            size = sizeof four;
        } else {
            ::inet_pton(AF_INET6, host.c_str(), &six.sin6_addr);
            six.sin6_family = AF_INET6;
            six.sin6_port = htons(static_cast<uint16_t>(port));
            size = sizeof six;
        }
    }
    [[nodiscard]] sockaddr *get() { return reinterpret_cast<sockaddr *>(&storage); }
    [[nodiscard]] int family() const { return storage.ss_family; }

    // "127.0.0.1 80"
    [[nodiscard]] std::string text() const {
        char host[INET6_ADDRSTRLEN] = "none";
        const auto &four = reinterpret_cast<const sockaddr_in &>(storage);
        const auto &six = reinterpret_cast<const sockaddr_in6 &>(storage);
        if (family() == AF_INET)
            ::inet_ntop(AF_INET, &four.sin_addr, host, sizeof host);
        if (family() == AF_INET6)
            ::inet_ntop(AF_INET6, &six.sin6_addr, host, sizeof host);
        return std::string(host) + " " + std::to_string(ntohs(four.sin_port)); // the port is at the same place
    }
};

inline std::string local_of(int fd) {
    Address address;
    return ::getsockname(fd, address.get(), &address.size) == 0 ? address.text() : std::strerror(errno);
}

inline std::string remote_of(int fd) {
    Address address;
    return ::getpeername(fd, address.get(), &address.size) == 0 ? address.text() : std::strerror(errno);
}

inline int bound(int type, Address address) {
    const int fd = SYS(::socket(address.family(), type | SOCK_CLOEXEC, 0));
    SYS(::bind(fd, address.get(), address.size));
    return fd;
}

inline void set(int fd, int level, int name, int value) { SYS(::setsockopt(fd, level, name, &value, sizeof value)); }

inline int get(int fd, int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    SYS(::getsockopt(fd, level, name, &value, &size));
    return value;
}

// What comes, at once or soon; an empty text at the end of a stream.
inline std::string receive(int fd, std::size_t most = 1000, Address *from = nullptr) {
    pollfd ask = {fd, POLLIN, 0};
    EQUAL(1, SYS(::poll(&ask, 1, 10000)));
    std::string buffer(most, '\0');
    Address ignored;
    Address &source = from != nullptr ? *from : ignored;
    source = {};
    const ssize_t got = SYS(::recvfrom(fd, buffer.data(), buffer.size(), MSG_DONTWAIT, source.get(), &source.size));
    buffer.resize(static_cast<std::size_t>(got));
    return buffer;
}

inline void nothing_unread(int fd) {
    char byte = 0;
    EQUAL(-1, ::recv(fd, &byte, 1, MSG_DONTWAIT));
    EQUAL(EAGAIN, errno);
}

inline void send_text(int fd, const std::string &text) {
    EQUAL(text.size(), SYS(::send(fd, text.data(), text.size(), MSG_NOSIGNAL)));
}

inline void send_to(int fd, const std::string &text, Address to) {
    EQUAL(text.size(), SYS(::sendto(fd, text.data(), text.size(), 0, to.get(), to.size)));
}

} // namespace scenario
