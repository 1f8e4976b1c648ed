// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "session/keeper/served_terminal.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace abey::session {

// Where clients find the keeper of one session; the path is removed with it.
class ListeningSocket {
  public:
    // Makes the socket, mode 0600 and its owner's, and its directory if need be.
    static Result<ListeningSocket> make(const std::string &path, uid_t owner);
    ListeningSocket(ListeningSocket &&other) noexcept
        : path_(std::exchange(other.path_, {})), socket_(std::move(other.socket_)) {}
    ListeningSocket(const ListeningSocket &) = delete;
    ListeningSocket &operator=(const ListeningSocket &) = delete;
    ListeningSocket &operator=(ListeningSocket &&) = delete;
    ~ListeningSocket();

    // To be watched and accepted from; the path stays with this.
    Fd take() { return std::move(socket_); }

  private:
    ListeningSocket() = default;
    std::string path_;
    Fd socket_;
};

// Serves the terminals of one session to its owner and root, over a socket (terminal.h). Needs no rights but those of
// the owner.
class Server {
  public:
    // `attached`: a process of the owner's has attached.
    static Result<std::unique_ptr<Server>> make(sd_event *event, Fd socket, uid_t owner,
                                                std::function<void(pid_t client)> attached = {});

    Result<> add(Master master);
    // From now on clients are let in; those that came before have waited.
    void open();
    // A terminal whose kernel session this process led is closed: its users see a hang-up, its client the end.
    void process_ended(pid_t pid);
    // Closes all terminals and tells all clients; nobody is let in any more.
    void close(const std::string &why);
    // After close(): all clients have taken what there was for them.
    [[nodiscard]] bool idle() const { return clients_.empty(); }
    [[nodiscard]] size_t terminals() const { return terminals_.size(); }

  private:
    Server(sd_event *event, Fd socket, uid_t owner, std::function<void(pid_t client)> attached)
        : event_(event), owner_(owner), socket_(std::move(socket)), attached_(std::move(attached)) {}
    static int on_connection(sd_event_source *source, int fd, uint32_t events, void *self);
    static int on_sweep(sd_event_source *source, void *self);
    Result<> admit(Fd connection);
    void hear(Client &client, const ClientMessage &message);
    void attach(Client &client, const Attach &request);
    void watch(Client &client, const Watch &request);
    void show_once(Client &client, uint32_t index);
    // The terminal that a client asks for; nothing: it may not have it, and has been told why.
    ServedTerminal *let_in(Client &client, uint32_t index, ServedTerminal *any);
    void close_terminal(ServedTerminal &terminal, const std::string &why);
    void sweep_later();
    ServedTerminal *terminal_of(const Client &client);
    ServedTerminal *free_one();
    ServedTerminal *used_one();
    [[nodiscard]] bool sits_on_ours(pid_t peer) const;

    sd_event *event_;
    uid_t owner_;
    Fd socket_;
    std::function<void(pid_t client)> attached_;
    EventSource listening_;
    EventSource sweep_;
    std::vector<std::unique_ptr<ServedTerminal>> terminals_;
    std::vector<std::unique_ptr<Client>> clients_;
    // Closed in one of their own callbacks: freed when it has returned.
    std::vector<std::unique_ptr<ServedTerminal>> closed_;
};

} // namespace abey::session
