// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/tcp_connection.h"

#include "engine/capture/inet_socket.h"
#include "engine/capture/tcp_queue.h"
#include "engine/os/inet_address.h"
#include "engine/os/inet_diag.h"
#include "engine/socket_settings.h"

#include <algorithm>
#include <map>
#include <optional>

#include <poll.h>

namespace abey::capture {
namespace {

using model::InetSocket;
using model::InetState;
using model::PeerAction;
using os::InetAddress;
using os::TcpState;

constexpr uint32_t usual_backlog = 4096;

unsigned poll_now(const Fd &file) {
    pollfd ask = {.fd = file.get(), .events = POLLIN | POLLRDHUP, .revents = 0};
    return ::poll(&ask, 1, 0) == 1 ? static_cast<unsigned>(ask.revents) : 0U;
}

InetAddress address(const model::Bytes &bytes) { return InetAddress::parse(bytes).value_or(InetAddress()).plain(); }

// Context::state: connections to peers outside that are to go on
struct Kept {
    std::vector<os::Connection> connections;
    std::optional<os::NetworkLock> lock;
};

// Local and remote end
using Ends = std::pair<std::string, std::string>;
Ends ends_of(const InetSocket &socket) { return {address(socket.local).bytes(), address(socket.remote).bytes()}; }

// The streams of one capture and what belongs to them.
class Streams {
  public:
    Streams(Context &context, std::span<const StreamEnd> all) : context_(context), all_(all) {}

    Result<> complete() {
        for (const StreamEnd &end : all_)
            if (end.socket->state == InetState::connected)
                connected_[ends_of(*end.socket)] = &end;
        for (const StreamEnd &end : all_)
            TRY_IN(decide(end), "{}", end.entry->seen.described());
        for (const StreamEnd &end : all_)
            TRY_IN(tell_waiting(end), "{}", end.entry->seen.described());
        if (context_.preflight)
            return {};
        TRY(hold_back_packets());
        for (const StreamEnd &end : all_)
            if (is_kept(*end.socket))
                TRY_IN(read_kept(end), "{}", end.entry->seen.described());
        // What has been acknowledged by the time that it is read here is in the peer's queue later.
        for (const StreamEnd &end : all_)
            TRY_IN(read_sent(end), "{}", end.entry->seen.described());
        for (const StreamEnd &end : all_)
            TRY_IN(read_received(end), "{}", end.entry->seen.described());
        return {};
    }

  private:
    Result<> decide(const StreamEnd &end) {
        InetSocket &socket = *end.socket;
        if (socket.state == InetState::connecting) {
            const auto *diag = TRY(find([&](const os::TcpDiag &each) { return each.inode == socket.number; }));
            if (diag == nullptr && context_.preflight)
                return {}; // it has changed while we looked
            if (diag == nullptr)
                return fail(EAGAIN, "the state of the connection changes; try again");
            socket.remote = diag->remote.for_family(socket.family).bytes();
            return decide_outside(end);
        }
        if (socket.state != InetState::connected)
            return {};
        const auto peer = connected_.find({address(socket.remote).bytes(), address(socket.local).bytes()});
        if (peer != connected_.end()) {
            socket.peer = peer->second->socket->id;
            socket.repair = TRY(stream_info(end.entry->file)).parameters;
            // each limits the size of the segments that the other may send
            socket.repair.largest_segment = TRY(stream_info(peer->second->entry->file)).announced_segment;
            return {};
        }
        const auto remote = address(socket.remote), local = address(socket.local);
        const auto *diag = TRY(find(
            [&](const os::TcpDiag &each) { return each.local.plain() == remote && each.remote.plain() == local; }));
        const bool held = diag != nullptr && diag->inode != 0;
        const bool open =
            diag != nullptr && (diag->state == TcpState::established || diag->state == TcpState::close_wait);
        if (!held && open)
            if (InetSocket *listener = listener_at(remote))
                return wait_at(*listener, *diag, socket);
        if (socket.end_received && (diag != nullptr ? !held : remote.is_loopback()))
            return {}; // its peer has gone already
        return decide_outside(end);
    }

    Result<> wait_at(InetSocket &listener, const os::TcpDiag &diag, InetSocket &client) {
        const uint32_t end_counts = client.write_shut ? 1 : 0;
        if (!context_.preflight && diag.read_queue > end_counts)
            return fail(EAGAIN, "it has sent data over a connection that has not been accepted yet; try again");
        client.listener = listener.id;
        ++waiting_[listener.id];
        return {};
    }

    Result<> decide_outside(const StreamEnd &end) {
        InetSocket &socket = *end.socket;
        const InetAddress remote = address(socket.remote);
        const auto choice = context_.peers ? context_.peers(remote) : engine::PeerChoice();
        std::string why = choice.rule.empty() ? "" : fmt::format(" ({})", choice.rule);
        socket.action = choice.action;
        if (choice.action == PeerAction::keep && !possible()) {
            socket.action = choice.otherwise;
            // NOLINTNEXTLINE(bugprone-unchecked-optional-access): possible() has set it
            why += fmt::format("; to `keep` it is not possible: {}", possible_->error().message());
        }
        if (socket.action == PeerAction::fail && choice.action == PeerAction::keep)
            context_.findings.push_back(
                socket_finding(end.entry->seen, fmt::format("it is connected to {} outside{}", remote.text(), why),
                               "close the connection, or choose another action in a [[peer]] rule, such as "
                               "[\"keep\", \"hangup\"]",
                               true));
        else if (socket.action == PeerAction::fail)
            context_.findings.push_back(socket_finding(
                end.entry->seen,
                fmt::format("it is connected to {} outside, and the policy says `fail`{}", remote.text(), why),
                "close the connection, or choose another action in a [[peer]] rule", true));
        else if (socket.state == InetState::connecting)
            return {}; // it begins again
        else if (socket.action == PeerAction::keep)
            context_.findings.push_back(socket_finding(
                end.entry->seen, fmt::format("it is connected to {} outside: until the restore its packets are "
                                             "dropped, then it goes on{}",
                                             remote.text(), why)));
        else if (socket.action == PeerAction::reconnect)
            context_.findings.push_back(socket_finding(
                end.entry->seen, fmt::format("it is connected to {} outside: after the restore it will be a "
                                             "new connection to there{}",
                                             remote.text(), why)));
        else
            context_.findings.push_back(
                socket_finding(end.entry->seen,
                               fmt::format("it is connected to {} outside: after the restore it will be hung up{}",
                                           remote.text(), why),
                               "the program must connect again by itself"));
        return {};
    }

    bool possible() {
        if (!possible_)
            possible_ = os::can_lock();
        return possible_->has_value();
    }

    // A connection of which only one end is here, and which is to go on.
    [[nodiscard]] static bool is_kept(const InetSocket &socket) {
        return socket.state == InetState::connected && socket.peer == 0 && socket.listener == 0 &&
               socket.action == PeerAction::keep;
    }

    Result<> hold_back_packets() {
        auto &kept = context_.state<Kept>();
        for (const StreamEnd &end : all_)
            if (is_kept(*end.socket))
                kept.connections.push_back({address(end.socket->local), address(end.socket->remote)});
        if (!kept.connections.empty())
            kept.lock = TRY(os::NetworkLock::of(kept.connections));
        return {};
    }

    // Nothing comes any more; but what had come before may still have been on its way through the kernel.
    static Result<> read_kept(const StreamEnd &end) {
        InetSocket &socket = *end.socket;
        const Fd &file = end.entry->file;
        do {
            TRY(look_at_stream(file, socket));
            if (socket.state != InetState::connected)
                return {}; // it has been reset meanwhile
            socket.unread = TRY(peek_stream_data(file));
            const auto repair = TRY(RepairMode::of(file));
            socket.repair = TRY(repair.parameters());
            socket.repair.state = static_cast<uint32_t>(TRY(stream_info(file)).state);
            socket.repair.unsent = static_cast<uint32_t>(TRY(waiting_to_be_sent(file)));
            socket.unacknowledged = TRY(repair.unacknowledged());
            socket.repair.send_sequence = TRY(repair.end_of_sent()) - (socket.write_shut ? 1U : 0U) -
                                          static_cast<uint32_t>(socket.unacknowledged.size());
            socket.repair.receive_sequence = TRY(repair.end_of_received()) - (socket.end_received ? 1U : 0U);
        } while (TRY(received(end)) != socket.repair.receive_sequence || TRY(queue_changed(file, socket)));
        return {};
    }

    static Result<bool> queue_changed(const Fd &file, const InetSocket &socket) {
        const bool state = static_cast<uint32_t>(TRY(stream_info(file)).state) != socket.repair.state;
        const size_t unread = TRY(peek_stream_data(file)).size();
        return state || unread != socket.unread.size();
    }

    Result<> tell_waiting(const StreamEnd &end) {
        if (end.socket->state != InetState::listening || end.socket->protocol == IPPROTO_MPTCP)
            return {};
        const uint32_t waiting = TRY(stream_info(end.entry->file)).waiting;
        const auto inside = waiting_.find(end.socket->id);
        const uint32_t known = inside == waiting_.end() ? 0 : inside->second;
        if (waiting > known)
            context_.findings.push_back(socket_finding(
                end.entry->seen,
                fmt::format("{} connections from outside wait to be accepted; they will be closed", waiting - known)));
        return {};
    }

    [[nodiscard]] static bool is_pair(const InetSocket &socket) { return socket.peer != 0; }

    static Result<> read_sent(const StreamEnd &end) {
        InetSocket &socket = *end.socket;
        if (!is_pair(socket))
            return {};
        const size_t end_counts = TRY(stream_info(end.entry->file)).state == static_cast<int>(TcpState::fin_wait_2) ? 0
                                  : socket.write_shut                                                               ? 1
                                                                                                                    : 0;
        if (TRY(waiting_to_be_acknowledged(end.entry->file)) <= end_counts)
            return {};
        const auto repair = TRY(RepairMode::of(end.entry->file));
        socket.unacknowledged = TRY(repair.unacknowledged());
        const uint32_t sent = TRY(repair.end_of_sent());
        socket.repair.send_sequence =
            sent - (socket.write_shut ? 1U : 0U) - static_cast<uint32_t>(socket.unacknowledged.size());
        return {};
    }

    Result<> read_received(const StreamEnd &end) {
        InetSocket &socket = *end.socket;
        if (socket.state != InetState::connected && socket.state != InetState::dead)
            return {};
        if (is_kept(socket))
            return {};
        if (!is_pair(socket)) {
            socket.unread = TRY(peek_stream_data(end.entry->file));
            return {};
        }
        InetSocket &sender = context_.tree.inet_sockets.at(socket.peer);
        if (sender.unacknowledged.empty()) {
            socket.unread = TRY(peek_stream_data(end.entry->file));
            return {};
        }
        // Part of it may have come here meanwhile, or be only not acknowledged yet. In repair mode nothing but the
        // queue that is chosen can be read, so what is unread is read after; more may have come in between.
        uint32_t before = 0;
        do {
            before = TRY(received(end));
            socket.unread = TRY(peek_stream_data(end.entry->file));
        } while (TRY(received(end)) != before);
        const auto known = static_cast<int32_t>(before - sender.repair.send_sequence);
        if (known < 0)
            return fail(EPROTO, "the two ends of the connection disagree");
        sender.unacknowledged.erase(0, static_cast<size_t>(known));
        return {};
    }

    static Result<uint32_t> received(const StreamEnd &end) {
        const auto repair = TRY(RepairMode::of(end.entry->file));
        return TRY(repair.end_of_received()) - (end.socket->end_received ? 1U : 0U);
    }

    // The first of all TCP sockets of the network namespace; null: none.
    template <class Predicate> Result<const os::TcpDiag *> find(Predicate predicate) {
        if (!dumped_) {
            diags_ = TRY(os::dump_tcp());
            dumped_ = true;
        }
        const auto found = std::ranges::find_if(diags_, predicate);
        return found == diags_.end() ? nullptr : &*found;
    }

    InetSocket *listener_at(const InetAddress &where) {
        for (const StreamEnd &end : all_) {
            const InetAddress local = address(end.socket->local);
            if (end.socket->state == InetState::listening && local.port() == where.port() &&
                (local.is_any() || local == where))
                return end.socket;
        }
        return nullptr;
    }

    Context &context_;
    std::span<const StreamEnd> all_;
    std::map<Ends, const StreamEnd *> connected_;
    std::map<model::ObjRef, uint32_t> waiting_; // inside, by listener
    std::optional<Result<>> possible_;          // is `keep`?
    std::vector<os::TcpDiag> diags_;
    bool dumped_ = false;
};

} // namespace

Result<> look_at_stream(const Fd &file, InetSocket &socket) {
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
    const auto info = TRY(stream_info(file));
    const unsigned events = poll_now(file);
    const auto state = static_cast<TcpState>(info.state);
    switch (state) {
    case TcpState::listening:
        socket.backlog = info.backlog;
        return {};
    case TcpState::closed:
        socket.state = (events & POLLRDHUP) != 0 ? InetState::dead : InetState::idle;
        socket.error_pending = (events & POLLERR) != 0;
        return {};
    case TcpState::syn_sent:
    case TcpState::syn_received:
        socket.state = InetState::connecting;
        return {};
    default:
        break;
    }
    socket.state = InetState::connected;
    socket.end_received = state == TcpState::close_wait || state == TcpState::last_ack || state == TcpState::closing;
    socket.write_shut = state == TcpState::fin_wait_1 || state == TcpState::fin_wait_2 || state == TcpState::last_ack ||
                        state == TcpState::closing;
    socket.read_shut = !socket.end_received && (events & POLLRDHUP) != 0;
    if (const auto protocol = engine::int_option(file, IPPROTO_TCP, 31 /* TCP_ULP */); protocol && *protocol != 0)
        return fail(0, "encryption by the kernel (kTLS) cannot be brought back; switch it off in the program");
    return {};
}

Result<> complete_streams(Context &context, std::span<const StreamEnd> streams) {
    return Streams(context, streams).complete();
}

std::span<const os::Connection> kept_connections(Context &context) { return context.state<Kept>().connections; }

void close_silently(Context &context) noexcept {
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *payload = std::get_if<model::InetSocketFile>(&file.payload);
        if (payload == nullptr)
            continue;
        const InetSocket &socket = context.tree.inet_sockets.at(payload->socket);
        const bool comes_back = socket.peer != 0 || socket.listener != 0 || socket.action == PeerAction::keep;
        if (socket.type != SOCK_STREAM || socket.state != InetState::connected || !comes_back)
            continue;
        if (auto repair = RepairMode::of(context.state<OpenFiles>().held(id).file))
            repair->keep();
    }
}

} // namespace abey::capture
