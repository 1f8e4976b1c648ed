// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/inet_address.h"

#include <array>
#include <cstring>

#include <arpa/inet.h>

namespace abey::os {
namespace {

template <class T> T &as(sockaddr_storage &storage) { return reinterpret_cast<T &>(storage); }
template <class T> const T &as(const sockaddr_storage &storage) { return reinterpret_cast<const T &>(storage); }

using AddressCall = int (*)(int, sockaddr *, socklen_t *);

Result<InetAddress> ask(const Fd &socket, AddressCall call, const char *what) {
    sockaddr_storage storage = {};
    socklen_t size = sizeof storage;
    if (call(socket.get(), reinterpret_cast<sockaddr *>(&storage), &size) < 0)
        return errno == ENOTCONN ? Result<InetAddress>(InetAddress()) : fail(errno, "cannot ask for {}", what);
    return InetAddress::parse({reinterpret_cast<const char *>(&storage), size}).value_or(InetAddress());
}

} // namespace

std::optional<InetAddress> InetAddress::parse(std::string_view bytes) {
    InetAddress address;
    if (bytes.size() < sizeof(sa_family_t) || bytes.size() > sizeof address.storage_)
        return std::nullopt;
    std::memcpy(&address.storage_, bytes.data(), bytes.size());
    if ((address.family() == AF_INET && bytes.size() == sizeof(sockaddr_in)) ||
        (address.family() == AF_INET6 && bytes.size() == sizeof(sockaddr_in6)))
        return address;
    return std::nullopt;
}

std::optional<InetAddress> InetAddress::of(const std::string &host, uint16_t port) {
    InetAddress address = any(AF_INET);
    if (::inet_pton(AF_INET, host.c_str(), &as<sockaddr_in>(address.storage_).sin_addr) != 1) {
        address = any(AF_INET6);
        if (::inet_pton(AF_INET6, host.c_str(), &as<sockaddr_in6>(address.storage_).sin6_addr) != 1)
            return std::nullopt;
    }
    address.set_port(port);
    return address;
}

InetAddress InetAddress::any(int family) {
    InetAddress address;
    address.storage_.ss_family = static_cast<sa_family_t>(family);
    return address;
}

InetAddress InetAddress::loopback(int family) {
    InetAddress address = any(family);
    if (family == AF_INET)
        as<sockaddr_in>(address.storage_).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        as<sockaddr_in6>(address.storage_).sin6_addr = in6addr_loopback;
    return address;
}

Result<InetAddress> InetAddress::local_of(const Fd &socket) { return ask(socket, ::getsockname, "its address"); }
Result<InetAddress> InetAddress::remote_of(const Fd &socket) {
    return ask(socket, ::getpeername, "its peer's address");
}

socklen_t InetAddress::size() const {
    return family() == AF_INET ? sizeof(sockaddr_in) : family() == AF_INET6 ? sizeof(sockaddr_in6) : 0;
}

std::string InetAddress::bytes() const { return {reinterpret_cast<const char *>(&storage_), size()}; }

uint16_t InetAddress::port() const {
    return ntohs(family() == AF_INET ? as<sockaddr_in>(storage_).sin_port : as<sockaddr_in6>(storage_).sin6_port);
}

void InetAddress::set_port(uint16_t port) {
    if (family() == AF_INET)
        as<sockaddr_in>(storage_).sin_port = htons(port);
    else
        as<sockaddr_in6>(storage_).sin6_port = htons(port);
}

bool InetAddress::is_any() const {
    if (family() == AF_INET)
        return as<sockaddr_in>(storage_).sin_addr.s_addr == 0;
    const InetAddress address = plain();
    return address.family() == AF_INET ? address.is_any()
                                       : IN6_IS_ADDR_UNSPECIFIED(&as<sockaddr_in6>(storage_).sin6_addr);
}

bool InetAddress::is_loopback() const {
    const InetAddress address = plain();
    if (address.family() == AF_INET)
        return (ntohl(as<sockaddr_in>(address.storage_).sin_addr.s_addr) >> 24U) == 127;
    return IN6_IS_ADDR_LOOPBACK(&as<sockaddr_in6>(storage_).sin6_addr);
}

bool InetAddress::is_multicast() const {
    const InetAddress address = plain();
    if (address.family() == AF_INET) {
        const uint32_t host = ntohl(as<sockaddr_in>(address.storage_).sin_addr.s_addr);
        return IN_MULTICAST(host) || host == INADDR_BROADCAST;
    }
    return IN6_IS_ADDR_MULTICAST(&as<sockaddr_in6>(storage_).sin6_addr);
}

bool InetAddress::is_mapped() const {
    return family() == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&as<sockaddr_in6>(storage_).sin6_addr);
}

InetAddress InetAddress::plain() const {
    if (!is_mapped()) {
        InetAddress same = *this;
        if (family() == AF_INET6)
            as<sockaddr_in6>(same.storage_).sin6_flowinfo = 0;
        return same;
    }
    InetAddress address = any(AF_INET);
    std::memcpy(&as<sockaddr_in>(address.storage_).sin_addr, &as<sockaddr_in6>(storage_).sin6_addr.s6_addr[12], 4);
    address.set_port(port());
    return address;
}

InetAddress InetAddress::for_family(int wanted) const {
    if (wanted == AF_INET)
        return plain();
    if (family() != AF_INET)
        return *this;
    InetAddress address = any(AF_INET6);
    auto &six = as<sockaddr_in6>(address.storage_).sin6_addr;
    six.s6_addr[10] = six.s6_addr[11] = 0xff;
    std::memcpy(&six.s6_addr[12], &as<sockaddr_in>(storage_).sin_addr, 4);
    address.set_port(port());
    return address;
}

std::string InetAddress::raw() const {
    if (family() == AF_INET)
        return {reinterpret_cast<const char *>(&as<sockaddr_in>(storage_).sin_addr), 4};
    return {reinterpret_cast<const char *>(&as<sockaddr_in6>(storage_).sin6_addr), 16};
}

std::string InetAddress::host() const {
    const InetAddress address = plain();
    std::array<char, INET6_ADDRSTRLEN> text = {};
    const std::string binary = address.raw();
    ::inet_ntop(address.family(), binary.data(), text.data(), text.size());
    return text.data();
}

std::string InetAddress::text() const {
    if (!*this)
        return "no address";
    return plain().family() == AF_INET ? fmt::format("{}:{}", host(), port()) : fmt::format("[{}]:{}", host(), port());
}

} // namespace abey::os
