// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/tcp_connection.h"

#include "engine/os/inet_diag.h"
#include "engine/rebuild/tcp_packet.h"

#include <algorithm>
#include <array>

#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <poll.h>

namespace abey::rebuild {
namespace {

using model::InetSocket;
using model::InetState;
using model::PeerAction;
using os::InetAddress;
using os::TcpState;

// For the time of filling: whatever the queues held must fit again.
constexpr int connection_buffer = 256 << 20;
constexpr size_t largest_piece = 16384;
constexpr int patience_ms = 10000; // for packets over the loopback device

Result<> set(const Fd &socket, int level, int name, int value, const char *what) {
    if (::setsockopt(socket.get(), level, name, &value, sizeof value) < 0)
        return fail(errno, "cannot {}", what);
    return {};
}

Result<> set_repair(const Fd &socket, int value) {
    return set(socket, IPPROTO_TCP, TCP_REPAIR, value, "make its connection again by TCP_REPAIR");
}

Result<> set_sequence(const Fd &socket, int queue, uint32_t sequence) {
    TRY(set(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "choose a queue of the connection"));
    return set(socket, IPPROTO_TCP, TCP_QUEUE_SEQ, static_cast<int>(sequence), "set a sequence number");
}

Result<> make_room(const Fd &socket) {
    TRY(set(socket, SOL_SOCKET, SO_RCVBUFFORCE, connection_buffer, "make room for unread data"));
    return set(socket, SOL_SOCKET, SO_SNDBUFFORCE, connection_buffer, "make room for unsent data");
}

// Repair mode forgets it.
Result<> set_reuse_address(const Fd &socket, const InetSocket &saved) {
    int value = 0;
    for (const auto &option : saved.settings.options)
        if (option.level == SOL_SOCKET && option.name == SO_REUSEADDR)
            value = 1;
    return set(socket, SOL_SOCKET, SO_REUSEADDR, value, "set SO_REUSEADDR again");
}

Result<> set_parameters(const Fd &socket, const model::TcpRepair &repair) {
    std::array<tcp_repair_opt, 4> options = {};
    size_t count = 0;
    const auto add = [&](uint32_t code, uint32_t value) { options.at(count++) = {.opt_code = code, .opt_val = value}; };
    constexpr uint32_t largest_segment = 2, window = 3, selective = 4, timestamp = 8; // RFC 9293, 7323, 2018
    if (repair.largest_segment != 0)
        add(largest_segment, repair.largest_segment);
    if (repair.window_scaling)
        add(window, repair.send_scale | (repair.receive_scale << 16U));
    if (repair.selective_acknowledgement)
        add(selective, 0);
    if (repair.timestamps)
        add(timestamp, 0);
    if (count != 0 && ::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(),
                                   static_cast<socklen_t>(count * sizeof options[0])) < 0)
        return fail(errno, "cannot agree about the connection's parameters again");
    return {};
}

Result<> send_pieces(const Fd &socket, std::string_view data, const char *what) {
    while (!data.empty()) {
        const ssize_t sent =
            ::send(socket.get(), data.data(), std::min(data.size(), largest_piece), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0)
            return fail(errno, "cannot put {} back", what);
        data.remove_prefix(static_cast<size_t>(sent));
    }
    return {};
}

struct End {
    const Fd &socket;
    InetAddress local, remote;
    uint32_t send_sequence = 0, receive_sequence = 0; // the next ones, when all of `unread` has come
    std::string_view unread;
    const model::TcpRepair &parameters;
};

Result<> bind_repaired(const Fd &socket, const InetAddress &local) {
    TRY(set_repair(socket, TCP_REPAIR_ON));
    if (::bind(socket.get(), local.get(), local.size()) < 0)
        return fail(errno, "cannot bind it to {} again", local.text());
    return {};
}

// Its process has closed it.
bool is_leftover(const os::TcpDiag &diag) {
    return diag.inode == 0 &&
           (diag.state == TcpState::time_wait || diag.state == TcpState::fin_wait_2 ||
            diag.state == TcpState::fin_wait_1 || diag.state == TcpState::last_ack || diag.state == TcpState::closing);
}

// The one between these two.
Result<> clear_leftover(const InetAddress &local, const InetAddress &remote) {
    for (const auto &diag : TRY(os::dump_tcp()))
        if (is_leftover(diag) && diag.local.plain() == local.plain() && diag.remote.plain() == remote.plain())
            TRY(os::destroy_tcp(diag));
    return {};
}

// The socket is in repair mode and bound; it stays in repair mode.
Result<> establish(const End &end) {
    TRY(make_room(end.socket));
    TRY(set_sequence(end.socket, TCP_SEND_QUEUE, end.send_sequence));
    TRY(set_sequence(end.socket, TCP_RECV_QUEUE, end.receive_sequence - static_cast<uint32_t>(end.unread.size())));
    int failed = ::connect(end.socket.get(), end.remote.get(), end.remote.size());
    if (failed < 0 && errno == EADDRNOTAVAIL) {
        TRY(clear_leftover(end.local, end.remote));
        failed = ::connect(end.socket.get(), end.remote.get(), end.remote.size());
    }
    if (failed < 0)
        return fail(errno, "cannot connect {} to {} again; is there such a connection already?", end.local.text(),
                    end.remote.text());
    TRY(set_parameters(end.socket, end.parameters));
    TRY(set(end.socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE, "choose a queue of the connection"));
    TRY(send_pieces(end.socket, end.unread, "unread data"));
    return set(end.socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE, "choose a queue of the connection");
}

struct ReceiveBuffer {
    uint32_t greatest_window = 0, window = 0; // that it can offer: when it is empty; now
};

// SO_MEMINFO: socket(7). The window that connections begin with is enough: it grows by itself.
Result<ReceiveBuffer> shrink_receive_buffer(const Fd &socket, const InetSocket &saved) {
    TRY(set(socket, SOL_SOCKET, SO_RCVBUFFORCE, static_cast<int>(saved.settings.receive_buffer / 2),
            "set the size of its receive buffer"));
    std::array<uint32_t, SK_MEMINFO_VARS> memory = {};
    socklen_t size = sizeof memory;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_MEMINFO, memory.data(), &size) < 0)
        return fail(errno, "cannot ask how full its receive buffer is");
    const uint32_t all = memory.at(SK_MEMINFO_RCVBUF), used = memory.at(SK_MEMINFO_RMEM_ALLOC);
    const auto window = [](uint32_t space) { return std::min<uint32_t>(space / 2, UINT16_MAX); };
    return ReceiveBuffer{.greatest_window = window(all), .window = window(all - std::min(all, used))};
}

// Filling has made the windows as large as its buffers. What a full end would then be sent it would have to drop, and
// who sends would wait for as large a window again, sending a piece at each tick of a timer only (RFC 9293, 3.8.6.2.1).
Result<> set_windows(const Fd &socket, uint32_t receive_sequence, const ReceiveBuffer &ours,
                     const ReceiveBuffer &theirs) {
    const tcp_repair_window windows = {.snd_wl1 = receive_sequence,
                                       .snd_wnd = theirs.window,
                                       .max_window = theirs.greatest_window,
                                       .rcv_wnd = ours.window,
                                       .rcv_wup = receive_sequence};
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_WINDOW, &windows, sizeof windows) < 0)
        return fail(errno, "cannot set the connection's windows again");
    return {};
}

// From here on the ordinary rules hold: what the other end has no room for yet waits, and the end of the stream comes
// after all data.
Result<> go_on(const Fd &socket, const InetSocket &saved) {
    TRY(send_pieces(socket, saved.unacknowledged, "unsent data"));
    if (saved.write_shut && ::shutdown(socket.get(), SHUT_WR) < 0)
        return fail(errno, "cannot shut the connection's sending side again");
    if (saved.read_shut && ::shutdown(socket.get(), SHUT_RD) < 0)
        return fail(errno, "cannot shut the connection's receiving side again");
    return {};
}

Result<> leave_repair(const Fd &socket, const InetSocket &saved) {
    TRY(set_repair(socket, TCP_REPAIR_OFF));
    return set_reuse_address(socket, saved);
}

Result<> wait_for(const Fd &socket, short events, const char *what) {
    pollfd ask = {.fd = socket.get(), .events = events, .revents = 0};
    const int ready = ::poll(&ask, 1, patience_ms);
    if (ready <= 0)
        return fail(ready == 0 ? ETIMEDOUT : errno, "{}; is the loopback device up?", what);
    return {};
}

// Runs a call without waiting, whatever mode the open file is in.
template <class Call> int without_waiting(int socket, Call call) {
    const int flags = ::fcntl(socket, F_GETFL);
    static_cast<void>(::fcntl(socket, F_SETFL, flags | O_NONBLOCK));
    const int result = call();
    const int why = errno;
    static_cast<void>(::fcntl(socket, F_SETFL, flags));
    errno = why;
    return result;
}

InetAddress address(const model::Bytes &bytes) { return InetAddress::parse(bytes).value_or(InetAddress()); }

Result<> wait_for_state(const Fd &socket, TcpState wanted) {
    for (int waited = 0; waited < patience_ms; ++waited) {
        tcp_info info = {};
        socklen_t size = sizeof info;
        if (::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
            return fail(errno, "cannot ask for the connection's state");
        if (info.tcpi_state == static_cast<uint8_t>(wanted))
            return {};
        ::poll(nullptr, 0, 1);
    }
    return fail(ETIMEDOUT, "the connection does not come into its state again; is the loopback device up?");
}

Result<> receive_end(const Fd &socket, const FromPeer &peer, const model::TcpRepair &repair, TcpState then) {
    TRY(send_from_peer(peer, repair.receive_sequence, repair.send_sequence, PeerSends::end));
    return wait_for_state(socket, then);
}

// What the peer may have seen of the data that it has not acknowledged.
std::string_view sent_part(const InetSocket &saved) {
    const bool end_unsent = saved.write_shut && saved.repair.unsent != 0;
    const size_t unsent = saved.repair.unsent - (end_unsent ? 1U : 0U);
    const std::string_view all = saved.unacknowledged;
    return all.substr(0, all.size() - std::min(unsent, all.size()));
}

bool end_was_sent(const InetSocket &saved) { return saved.write_shut && saved.repair.unsent == 0; }

// Both are in repair mode afterwards, connected to each other over the loopback device.
Result<> join_loopback(const Fd &socket, const InetSocket &saved, const Fd &other) {
    const bool mapped = saved.family == AF_INET6 && address(saved.remote).is_mapped();
    const InetAddress host = InetAddress::loopback(mapped ? AF_INET : saved.family).for_family(saved.family);
    for (const Fd *each : {&socket, &other}) {
        // it may have been bound to a device that cannot lead there
        static_cast<void>(::setsockopt(each->get(), SOL_SOCKET, SO_BINDTODEVICE, "", 0));
        TRY(bind_repaired(*each, host));
    }
    const InetAddress here = TRY(InetAddress::local_of(socket)), there = TRY(InetAddress::local_of(other));
    const model::TcpRepair parameters = {.largest_segment = 1400};
    TRY(establish({socket, here, there, 1, 1, saved.unread, parameters}));
    return establish({other, there, here, 1, 1, {}, parameters});
}

} // namespace

Result<> clear_leftovers(const InetAddress &local) {
    const auto connections = TRY(os::dump_tcp());
    const auto in_the_way = [&local](const os::TcpDiag &diag) {
        return diag.local.port() == local.port() &&
               (local.is_any() || diag.local.is_any() || diag.local.plain() == local.plain());
    };
    if (std::ranges::any_of(connections, [&](const os::TcpDiag &diag) {
            return diag.state == TcpState::listening && in_the_way(diag);
        }))
        return {};
    for (const auto &diag : connections)
        if (is_leftover(diag) && in_the_way(diag))
            TRY(os::destroy_tcp(diag));
    return {};
}

Result<> connect_pair(const Fd &a, const InetSocket &saved_a, const Fd &b, const InetSocket &saved_b) {
    const InetAddress at_a = address(saved_a.local), at_b = address(saved_b.local);
    TRY(bind_repaired(a, at_a));
    TRY(bind_repaired(b, at_b));
    // Nobody else knows the numbers, so any will do; what was on its way begins where the other end's unread data ends.
    constexpr uint32_t from_a = 0x10000000, from_b = 0x50000000;
    TRY(establish({a, at_a, address(saved_a.remote), from_a, from_b, saved_a.unread, saved_a.repair}));
    TRY(establish({b, at_b, address(saved_b.remote), from_b, from_a, saved_b.unread, saved_b.repair}));
    const auto buffer_a = TRY(shrink_receive_buffer(a, saved_a));
    const auto buffer_b = TRY(shrink_receive_buffer(b, saved_b));
    TRY(set_windows(a, from_b, buffer_a, buffer_b));
    TRY(set_windows(b, from_a, buffer_b, buffer_a));
    TRY(leave_repair(a, saved_a));
    TRY(leave_repair(b, saved_b));
    TRY(go_on(a, saved_a));
    return go_on(b, saved_b);
}

Result<> connect_to_itself(const Fd &socket, const InetSocket &saved) {
    TRY(bind_repaired(socket, address(saved.local)));
    constexpr uint32_t sequence = 0x10000000;
    TRY(establish(
        {socket, address(saved.local), address(saved.remote), sequence, sequence, saved.unread, saved.repair}));
    const auto buffer = TRY(shrink_receive_buffer(socket, saved));
    TRY(set_windows(socket, sequence, buffer, buffer));
    TRY(leave_repair(socket, saved));
    return go_on(socket, saved);
}

Result<> connect_waiting(const Fd &socket, const InetSocket &saved) {
    const InetAddress remote = address(saved.remote);
    const int failed =
        without_waiting(socket.get(), [&] { return ::connect(socket.get(), remote.get(), remote.size()); });
    if (failed < 0 && errno != EINPROGRESS)
        return fail(errno, "cannot connect it to {} again", remote.text());
    TRY(wait_for(socket, POLLOUT, "cannot put it into the listener's queue again"));
    return go_on(socket, saved);
}

Result<> resume_kept(const Fd &socket, const InetSocket &saved) {
    const auto &repair = saved.repair;
    const auto state = static_cast<TcpState>(repair.state);
    const InetAddress local = address(saved.local), remote = address(saved.remote);
    TRY(bind_repaired(socket, local));
    TRY(establish({socket, local, remote, repair.send_sequence, repair.receive_sequence, saved.unread, repair}));
    if (repair.timestamps)
        TRY(set(socket, IPPROTO_TCP, TCP_TIMESTAMP, static_cast<int>(repair.timestamp), "set the connection's clock"));
    const FromPeer peer{.peer = remote.plain(), .us = local.plain()};
    // Whose direction ended first makes a difference, but to nobody while our end waits behind data.
    const bool end_came_first = state == TcpState::close_wait || state == TcpState::last_ack ||
                                (state == TcpState::closing && !end_was_sent(saved));
    if (end_came_first)
        TRY(receive_end(socket, peer, repair, TcpState::close_wait));
    TRY(set(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE, "choose a queue of the connection"));
    TRY(send_pieces(socket, sent_part(saved), "unsent data"));
    if (end_was_sent(saved) && ::shutdown(socket.get(), SHUT_WR) < 0)
        return fail(errno, "cannot shut the connection's sending side again");
    TRY(set(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_NO_QUEUE, "choose a queue of the connection"));
    if (state == TcpState::fin_wait_2) {
        TRY(send_from_peer(peer, repair.receive_sequence, repair.send_sequence + 1, PeerSends::acknowledgement));
        TRY(wait_for_state(socket, TcpState::fin_wait_2));
    }
    if (state == TcpState::closing && !end_came_first)
        TRY(receive_end(socket, peer, repair, TcpState::closing));
    if (::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR_WINDOW, repair.window.data(),
                     static_cast<socklen_t>(repair.window.size())) < 0)
        return fail(errno, "cannot set the connection's windows again");
    return {};
}

Result<> let_go(const Fd &socket, const InetSocket &saved) {
    TRY(make_room(socket));
    TRY(leave_repair(socket, saved));
    TRY(send_pieces(socket, std::string_view(saved.unacknowledged).substr(sent_part(saved).size()), "unsent data"));
    if (saved.write_shut && !end_was_sent(saved) && ::shutdown(socket.get(), SHUT_WR) < 0)
        return fail(errno, "cannot shut the connection's sending side again");
    if (saved.read_shut && ::shutdown(socket.get(), SHUT_RD) < 0)
        return fail(errno, "cannot shut the connection's receiving side again");
    return {};
}

Result<> hang_up(const Fd &socket, const InetSocket &saved) {
    Fd other(::socket(saved.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!other)
        return fail(errno, "cannot make a TCP socket");
    TRY(join_loopback(socket, saved, other));
    TRY(leave_repair(socket, saved));
    TRY(set_repair(other, TCP_REPAIR_OFF));
    const bool over = saved.state == InetState::dead ? !saved.error_pending : saved.end_received && saved.write_shut;
    if (over && ::shutdown(socket.get(), SHUT_WR) < 0)
        return fail(errno, "cannot shut the connection's sending side again");
    if (!over && (saved.state == InetState::dead || !saved.end_received)) {
        const linger at_once = {.l_onoff = 1, .l_linger = 0}; // closing sends RST
        if (::setsockopt(other.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0)
            return fail(errno, "cannot hang the connection up");
    }
    if (over)
        TRY(wait_for(other, POLLRDHUP, "the connection's end does not get through"));
    other.reset();
    return wait_for(socket, POLLRDHUP, "the connection's end does not get through");
}

bool connects_again(const InetSocket &saved) {
    return saved.state == InetState::connecting || (saved.state == InetState::connected && saved.peer == 0 &&
                                                    saved.listener == 0 && saved.action == PeerAction::reconnect);
}

Result<> start_connecting(int socket, const InetSocket &saved) {
    const InetAddress remote = address(saved.remote);
    if (!remote)
        return fail(EBADMSG, "the checkpoint has a connection without a peer");
    // when it fails at once, the program sees a socket that is not connected, as after any failed connect(2)
    static_cast<void>(without_waiting(socket, [&] { return ::connect(socket, remote.get(), remote.size()); }));
    return {};
}

} // namespace abey::rebuild
