// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/fd.h"
#include "session/keeper/event.h"
#include "session/terminal.h"

#include <deque>
#include <functional>
#include <string>

namespace abey::session {

// One connection to the keeper. It never waits for the other side: what a slow client does not take is dropped, and
// when it takes something again it is told to begin anew.
class Client {
  public:
    struct Handlers {
        std::function<void(Client &, ClientMessage)> message;
        std::function<void(Client &)> behind; // output was dropped, and now there is room again
        std::function<void(Client &)> gone;   // nothing more will come or go; called once
    };

    // Who has made the connection (SO_PEERCRED of unix(7)).
    struct Peer {
        pid_t pid = 0;
        uid_t uid = 0;
    };
    // The connection of a peer that may speak to us.
    static Result<std::unique_ptr<Client>> make(sd_event *event, Fd connection, Peer peer, Handlers handlers);

    void send(const KeeperMessage &message);
    // Terminal data: any length, may be dropped.
    void output(std::string_view data);
    // What draws the whole screen: never dropped, in place of all output that still waits.
    void picture(std::string_view data);
    // Says why, and closes when all has been taken.
    void end(const std::string &why);
    // While true nothing is read from it.
    void hold(bool held);

    [[nodiscard]] bool gone() const { return gone_; }
    [[nodiscard]] Peer peer() const { return peer_; }

  private:
    Client(Fd connection, Peer peer, Handlers handlers)
        : connection_(std::move(connection)), peer_(peer), handlers_(std::move(handlers)) {}
    static int on_ready(sd_event_source *source, int fd, uint32_t events, void *self);
    void read();
    void enqueue_output(std::string_view data);
    void flush();
    void watch();
    void leave();

    Fd connection_;
    Peer peer_;
    Handlers handlers_;
    EventSource source_;
    std::deque<std::string> queue_; // packets
    size_t queued_ = 0;             // bytes of them
    bool behind_ = false;
    bool held_ = false;
    bool ending_ = false;
    bool gone_ = false;
};

} // namespace abey::session
