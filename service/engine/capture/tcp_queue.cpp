// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/tcp_queue.h"

#include "engine/socket_settings.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace abey::capture {
namespace {

constexpr size_t most_queued = size_t{256} << 20U;

Result<> set(int socket, int name, int value) {
    if (::setsockopt(socket, IPPROTO_TCP, name, &value, sizeof value) < 0)
        return fail(errno, "cannot look into the connection by TCP_REPAIR");
    return {};
}

template <class T> Result<T> get(int socket, int name) {
    T value = {};
    socklen_t size = sizeof value;
    if (::getsockopt(socket, IPPROTO_TCP, name, &value, &size) < 0)
        return fail(errno, "cannot ask for option {} of the connection", name);
    return value;
}

Result<size_t> queued(int socket, unsigned long which) {
    int size = 0;
    if (::ioctl(socket, which, &size) < 0)
        return fail(errno, "cannot ask how much is on its way in the connection");
    if (size < 0 || static_cast<size_t>(size) > most_queued)
        return fail(EMSGSIZE, "{} bytes are on their way in the connection", size);
    return static_cast<size_t>(size);
}

model::TcpRepair parameters_of(const tcp_info &info) {
    model::TcpRepair repair;
    repair.window_scaling = (info.tcpi_options & TCPI_OPT_WSCALE) != 0;
    repair.selective_acknowledgement = (info.tcpi_options & TCPI_OPT_SACK) != 0;
    repair.timestamps = (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;
    repair.send_scale = info.tcpi_snd_wscale;
    repair.receive_scale = info.tcpi_rcv_wscale;
    return repair;
}

} // namespace

Result<RepairMode> RepairMode::of(const Fd &socket) {
    const int reuse = TRY(engine::int_option(socket, SOL_SOCKET, SO_REUSEADDR));
    TRY(set(socket.get(), TCP_REPAIR, TCP_REPAIR_ON));
    return RepairMode(socket.get(), reuse);
}

RepairMode::~RepairMode() {
    if (socket_ < 0)
        return;
    static_cast<void>(set(socket_, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
    static_cast<void>(::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &reuse_address_, sizeof reuse_address_));
}

Result<> RepairMode::choose(int queue) const { return set(socket_, TCP_REPAIR_QUEUE, queue); }

Result<uint32_t> RepairMode::end_of_sent() const {
    TRY(choose(TCP_SEND_QUEUE));
    const auto end = get<uint32_t>(socket_, TCP_QUEUE_SEQ);
    TRY(choose(TCP_NO_QUEUE));
    return end;
}

Result<uint32_t> RepairMode::end_of_received() const {
    TRY(choose(TCP_RECV_QUEUE));
    const auto end = get<uint32_t>(socket_, TCP_QUEUE_SEQ);
    TRY(choose(TCP_NO_QUEUE));
    return end;
}

Result<model::Bytes> RepairMode::unacknowledged() const {
    const size_t size = TRY(queued(socket_, SIOCOUTQ));
    model::Bytes data(size, '\0');
    if (size == 0)
        return data;
    TRY(choose(TCP_SEND_QUEUE));
    const ssize_t got = ::recv(socket_, data.data(), data.size(), MSG_PEEK | MSG_DONTWAIT);
    const int why = errno;
    TRY(choose(TCP_NO_QUEUE));
    if (got < 0)
        return fail(why, "cannot read what the connection has not sent yet");
    data.resize(static_cast<size_t>(got)); // a FIN is no data
    return data;
}

Result<model::TcpRepair> RepairMode::parameters() const {
    auto repair = parameters_of(TRY(get<tcp_info>(socket_, TCP_INFO)));
    repair.largest_segment = TRY(get<uint32_t>(socket_, TCP_MAXSEG)); // in repair mode: the peer's limit
    repair.timestamp = TRY(get<uint32_t>(socket_, TCP_TIMESTAMP));
    const auto window = TRY(get<tcp_repair_window>(socket_, TCP_REPAIR_WINDOW));
    repair.window.assign(reinterpret_cast<const char *>(&window), sizeof window);
    return repair;
}

Result<size_t> waiting_to_be_acknowledged(const Fd &socket) { return queued(socket.get(), SIOCOUTQ); }

Result<size_t> waiting_to_be_sent(const Fd &socket) { return queued(socket.get(), SIOCOUTQNSD); }

Result<model::Bytes> peek_stream_data(const Fd &socket) {
    const size_t size = TRY(queued(socket.get(), SIOCINQ));
    model::Bytes data(size, '\0');
    if (size == 0)
        return data;
    // a peek offset (Linux 6.9) would hide what it has passed
    const int before = engine::int_option(socket, SOL_SOCKET, SO_PEEK_OFF).value_or(-1);
    const int none = -1;
    if (before >= 0)
        static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_PEEK_OFF, &none, sizeof none));
    const ssize_t got = ::recv(socket.get(), data.data(), data.size(), MSG_PEEK | MSG_DONTWAIT);
    const int why = errno;
    if (before >= 0)
        static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_PEEK_OFF, &before, sizeof before));
    if (got < 0)
        return fail(why, "cannot look at what is unread in the connection");
    if (static_cast<size_t>(got) != size)
        return fail(0, "out-of-band data in a TCP connection cannot be brought back; try again later");
    return data;
}

Result<StreamInfo> stream_info(const Fd &socket) {
    const tcp_info info = TRY(get<tcp_info>(socket.get(), TCP_INFO));
    StreamInfo found;
    found.state = info.tcpi_state;
    found.waiting = info.tcpi_unacked; // listeners have other uses for these two
    found.backlog = info.tcpi_sacked;
    found.announced_segment = info.tcpi_advmss;
    found.parameters = parameters_of(info);
    return found;
}

} // namespace abey::capture
