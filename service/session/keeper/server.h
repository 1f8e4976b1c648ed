// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "session/keeper/served_terminal.h"

#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

namespace abey::session {

// Serves the terminals of one session to its owner and root, over a socket (terminal.h).
class Server {
  public:
    // Makes the socket, its directory if need be, and removes the socket at the end.
    static Result<std::unique_ptr<Server>> listen(sd_event *event, const std::string &path, uid_t owner);
    Server(const Server &) = delete;
    Server &operator=(const Server &) = delete;
    ~Server();

    Result<> add(Master master);
    // A terminal whose kernel session this process led is closed: its users see a hang-up, its client the end.
    void process_ended(pid_t pid);
    // Closes all terminals and tells all clients; nobody is let in any more.
    void close(const std::string &why);
    // After close(): all clients have taken what there was for them.
    [[nodiscard]] bool idle() const { return clients_.empty(); }
    [[nodiscard]] size_t terminals() const { return terminals_.size(); }

  private:
    Server(sd_event *event, std::string path, uid_t owner) : event_(event), path_(std::move(path)), owner_(owner) {}
    static int on_connection(sd_event_source *source, int fd, uint32_t events, void *self);
    static int on_sweep(sd_event_source *source, void *self);
    Result<> admit(Fd connection);
    void hear(Client &client, const ClientMessage &message);
    void attach(Client &client, const Attach &request);
    void close_terminal(ServedTerminal &terminal, const std::string &why);
    void sweep_later();
    ServedTerminal *terminal_of(const Client &client);
    ServedTerminal *wanted(uint32_t index);
    [[nodiscard]] bool sits_on_ours(pid_t peer) const;

    sd_event *event_;
    std::string path_;
    uid_t owner_;
    Fd socket_;
    EventSource listening_;
    EventSource sweep_;
    std::vector<std::unique_ptr<ServedTerminal>> terminals_;
    std::vector<std::unique_ptr<Client>> clients_;
    // Closed in one of their own callbacks: freed when it has returned.
    std::vector<std::unique_ptr<ServedTerminal>> closed_;
};

} // namespace abey::session
