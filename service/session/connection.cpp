// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/connection.h"

#include "session/terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

namespace abey::session {

namespace {

Result<> connect_to_path(const Fd &connection, const std::string &path) {
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::ranges::copy(path, address.sun_path);
    if (::connect(connection.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0)
        return fail(errno, "cannot connect to {}", path);
    return {};
}

} // namespace

Result<Fd> connect_packets(const std::string &path, std::chrono::milliseconds limit) {
    Fd connection(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!connection)
        return fail(errno, "cannot make a socket");
    if (limit.count() != 0)
        TRY(limit_time(connection, limit));
    TRY(connect_to_path(connection, path));
    return connection;
}

Result<Fd> connect_at_once(const std::string &path) {
    Fd connection(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!connection)
        return fail(errno, "cannot make a socket");
    TRY(connect_to_path(connection, path));
    if (::fcntl(connection.get(), F_SETFL, 0) < 0)
        return fail(errno, "cannot set up the connection to {}", path);
    return connection;
}

Result<> limit_time(const Fd &connection, std::chrono::milliseconds limit) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
    const timeval time = {.tv_sec = seconds.count(), .tv_usec = std::chrono::microseconds(limit - seconds).count()};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        if (::setsockopt(connection.get(), SOL_SOCKET, option, &time, sizeof time) < 0)
            return fail(errno, "cannot limit the time of a connection");
    return {};
}

bool is_nobodys(int code) { return code == ENOENT || code == ECONNREFUSED; }

Result<> send_packet(const Fd &connection, std::string_view packet) {
    ssize_t n = 0;
    do {
        n = ::send(connection.get(), packet.data(), packet.size(), MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail(errno, "cannot send to the other side");
    return {};
}

Result<std::string> receive_packet(const Fd &connection, int flags) {
    std::array<char, packet_limit> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by recv
    ssize_t n = 0;
    do {
        // MSG_TRUNC: the length of the packet, also where it is more than the buffer's
        n = ::recv(connection.get(), buffer.data(), buffer.size(), flags | MSG_TRUNC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return fail(errno, "cannot receive from the other side");
    if (static_cast<size_t>(n) > buffer.size())
        return fail(EMSGSIZE, "the other side sent a packet of {} bytes", n);
    return std::string(buffer.data(), static_cast<size_t>(n));
}

Result<std::string> socket_path(const std::string &directory, std::string_view session) {
    const bool plain = !session.empty() && std::ranges::all_of(session, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    });
    auto path = fmt::format("{}/{}.sock", directory, session);
    if (!plain || path.size() >= sizeof(sockaddr_un::sun_path))
        return fail(ENOENT, "not the id of a session: \"{}\"", session);
    return path;
}

} // namespace abey::session
