// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/tcp_connection.h"

#include "engine/capture/inet_socket.h"
#include "engine/os/inet_address.h"
#include "engine/os/inet_diag.h"
#include "engine/socket_settings.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace abey::capture {
namespace {

using model::InetState;
using os::InetAddress;
using os::TcpState;

constexpr uint32_t usual_backlog = 4096;

Result<tcp_info> info_of(const Fd &file) {
    tcp_info info = {};
    socklen_t size = sizeof info;
    if (::getsockopt(file.get(), IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return fail(errno, "cannot ask for the state of the connection");
    return info;
}

unsigned poll_now(const Fd &file) {
    pollfd ask = {.fd = file.get(), .events = POLLIN | POLLRDHUP, .revents = 0};
    return ::poll(&ask, 1, 0) == 1 ? static_cast<unsigned>(ask.revents) : 0U;
}

} // namespace

Result<> look_at_stream(const Fd &file, model::InetSocket &socket) {
    if (TRY(engine::int_option(file, SOL_SOCKET, SO_ACCEPTCONN)) != 0)
        socket.state = InetState::listening;
    if (socket.protocol == IPPROTO_MPTCP) {
        if (!socket.remote.empty())
            return fail(
                0, "a connection of Multipath TCP cannot be brought back; end the program, or switch Multipath TCP "
                   "off for it");
        socket.backlog = usual_backlog;
        return {};
    }
    const auto info = TRY(info_of(file));
    const unsigned events = poll_now(file);
    switch (static_cast<TcpState>(info.tcpi_state)) {
    case TcpState::listening:
        socket.backlog = info.tcpi_sacked; // for a listener: how many may wait
        break;
    case TcpState::closed:
        socket.state = (events & POLLRDHUP) != 0 ? InetState::dead : InetState::idle;
        socket.error_pending = (events & POLLERR) != 0;
        break;
    case TcpState::syn_sent:
    case TcpState::syn_received:
        socket.state = InetState::connecting;
        break;
    default:
        socket.state = InetState::connected;
        break;
    }
    return {};
}

Result<> complete_streams(Context &context, std::span<const StreamEnd> streams) {
    for (const auto &[socket, entry] : streams)
        if (socket->state != InetState::idle && socket->state != InetState::listening)
            context.findings.push_back(
                socket_finding(entry->seen, "a TCP connection cannot be brought back yet", "", true));
    return {};
}

void close_silently(Context &context) noexcept { static_cast<void>(context); }

} // namespace abey::capture
