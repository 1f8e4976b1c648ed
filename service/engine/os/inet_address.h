// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Internet addresses with their port, as struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)).
#pragma once

#include "engine/os/fd.h"

#include <optional>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>

namespace abey::os {

class InetAddress {
  public:
    InetAddress() = default; // none
    // From the bytes of the structure; nothing when they are not one of the two.
    static std::optional<InetAddress> parse(std::string_view bytes);
    // "192.0.2.7" or "2001:db8::1"; names are not looked up.
    static std::optional<InetAddress> of(const std::string &host, uint16_t port);
    static InetAddress any(int family);
    static InetAddress loopback(int family);

    // getsockname(2), getpeername(2); none when there is none.
    static Result<InetAddress> local_of(const Fd &socket);
    static Result<InetAddress> remote_of(const Fd &socket);

    [[nodiscard]] std::string bytes() const;
    [[nodiscard]] const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&storage_); }
    [[nodiscard]] socklen_t size() const;
    [[nodiscard]] int family() const { return storage_.ss_family; } // AF_UNSPEC: none
    explicit operator bool() const { return family() != AF_UNSPEC; }

    [[nodiscard]] uint16_t port() const; // as people count
    void set_port(uint16_t port);
    [[nodiscard]] bool is_any() const;
    [[nodiscard]] bool is_loopback() const;
    [[nodiscard]] bool is_multicast() const; // the IPv4 broadcast address, too
    [[nodiscard]] bool is_mapped() const;    // IPv4 in IPv6 (::ffff:1.2.3.4)
    // IPv4 when it is mapped, otherwise the same; without flow label.
    [[nodiscard]] InetAddress plain() const;
    // For a socket of this family: mapped when it has to be.
    [[nodiscard]] InetAddress for_family(int wanted) const;

    // "127.0.0.1:80", "[::1]:80"
    [[nodiscard]] std::string text() const;
    // without the port
    [[nodiscard]] std::string host() const;
    // 4 or 16 bytes in network order
    [[nodiscard]] std::string raw() const;

    bool operator==(const InetAddress &other) const { return bytes() == other.bytes(); }
    auto operator<=>(const InetAddress &other) const { return bytes() <=> other.bytes(); }

  private:
    sockaddr_storage storage_ = {};
};

} // namespace abey::os
