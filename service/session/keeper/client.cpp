// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/client.h"

#include "session/connection.h"

#include <cerrno>

#include <sys/epoll.h>
#include <sys/socket.h>

namespace abey::session {
namespace {

// Output that waits for a client; a screen with all its attributes is a tenth of that.
constexpr size_t queue_limit = 256U << 10U;
// Packets taken in one go, so that one client cannot keep the others waiting.
constexpr int packets_in_a_row = 16;

} // namespace

Result<std::unique_ptr<Client>> Client::make(sd_event *event, Fd connection, Peer peer, Handlers handlers) {
    std::unique_ptr<Client> client(new Client(std::move(connection), peer, std::move(handlers)));
    sd_event_source *source = nullptr;
    const int r = sd_event_add_io(event, &source, client->connection_.get(), EPOLLIN, on_ready, client.get());
    if (r < 0)
        return fail(-r, "cannot watch a client");
    client->source_.reset(source);
    return client;
}

int Client::on_ready(sd_event_source * /*source*/, int /*fd*/, uint32_t events, void *self) {
    auto &client = *static_cast<Client *>(self);
    if ((events & EPOLLIN) != 0)
        client.read();
    if (!client.gone_ && (events & EPOLLOUT) != 0)
        client.flush();
    // With EPOLLHUP there may still be packets to read, unless we are not reading.
    if (!client.gone_ && (events & (EPOLLHUP | EPOLLERR)) != 0 && (events & EPOLLIN) == 0)
        client.leave();
    return 0;
}

void Client::read() {
    for (int i = 0; i < packets_in_a_row && !gone_ && !held_ && !ending_; ++i) {
        auto packet = receive_packet(connection_, MSG_DONTWAIT);
        if (!packet && packet.error().code() == EAGAIN)
            return;
        if (!packet || packet->empty())
            return leave();
        auto message = parse_client_message(*packet);
        if (!message)
            return end("protocol error");
        handlers_.message(*this, std::move(*message));
    }
    if (ending_ && !gone_) { // what it still says is not for us
        while (auto packet = receive_packet(connection_, MSG_DONTWAIT)) {
            if (packet->empty())
                return leave();
        }
    }
}

void Client::send(const KeeperMessage &message) {
    if (gone_ || ending_)
        return;
    queue_.push_back(encode(message));
    queued_ += queue_.back().size();
    flush();
}

void Client::output(std::string_view data) {
    if (gone_ || ending_ || behind_)
        return;
    if (queued_ + data.size() > queue_limit) {
        behind_ = true;
        queue_.clear();
        queued_ = 0;
        return watch();
    }
    enqueue_output(data);
    flush();
}

void Client::picture(std::string_view data) {
    if (gone_ || ending_)
        return;
    // What else waits, the answer to Attach, is still needed.
    std::erase_if(queue_, [](const std::string &packet) {
        const auto message = parse_keeper_message(packet);
        return message && std::holds_alternative<Output>(*message);
    });
    queued_ = 0;
    for (const std::string &packet : queue_)
        queued_ += packet.size();
    behind_ = false;
    enqueue_output(data);
    flush();
}

void Client::enqueue_output(std::string_view data) {
    for (; !data.empty(); data.remove_prefix(std::min(data.size(), data_limit))) {
        queue_.push_back(encode(KeeperMessage(Output{std::string(data.substr(0, data_limit))})));
        queued_ += queue_.back().size();
    }
}

void Client::end(const std::string &why) {
    if (gone_ || ending_)
        return;
    queue_.push_back(encode(KeeperMessage(Ended{why})));
    queued_ += queue_.back().size();
    ending_ = true;
    flush();
}

void Client::hold(bool held) {
    if (held_ == held || gone_)
        return;
    held_ = held;
    watch();
}

void Client::flush() {
    while (!queue_.empty()) {
        const std::string &packet = queue_.front();
        if (::send(connection_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                return leave();
            break;
        }
        queued_ -= packet.size();
        queue_.pop_front();
    }
    if (queue_.empty() && ending_)
        return leave();
    if (queue_.empty() && std::exchange(behind_, false))
        handlers_.behind(*this);
    if (!gone_)
        watch();
}

void Client::watch() {
    uint32_t events = 0;
    if (!held_)
        events |= EPOLLIN;
    if (!queue_.empty() || behind_)
        events |= EPOLLOUT;
    if (sd_event_source_set_io_events(source_.get(), events) < 0)
        leave();
}

void Client::leave() {
    if (gone_)
        return;
    gone_ = true;
    source_.reset();
    connection_.reset();
    queue_.clear();
    handlers_.gone(*this);
}

} // namespace abey::session
