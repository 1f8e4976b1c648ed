// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/server.h"

#include "session/own_terminal.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace abey::session {
namespace {

constexpr size_t client_limit = 32;
constexpr const char *ended = "the session on this terminal has ended";

// A keeper that was killed leaves its socket behind. Those of living ones have been listened on since they have their
// names (below).
void remove_abandoned(const std::string &directory) {
    std::error_code code;
    for (auto it = std::filesystem::directory_iterator(directory, code);
         !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
        const std::string path = it->path();
        sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
        if (it->path().extension() != ".sock" || path.size() >= sizeof address.sun_path)
            continue;
        std::ranges::copy(path, address.sun_path);
        const Fd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (probe && ::connect(probe.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0 &&
            errno == ECONNREFUSED)
            ::unlink(path.c_str());
    }
}

} // namespace

Result<ListeningSocket> ListeningSocket::make(const std::string &path, uid_t owner) {
    ListeningSocket made;
    // Others' sockets may be seen: nothing but the ids of sessions, which loginctl lists as well. The mode is set
    // apart: our umask is a service's.
    const std::string directory = std::filesystem::path(path).parent_path();
    std::error_code code;
    if (std::filesystem::create_directories(directory, code) && ::chmod(directory.c_str(), 0755) < 0)
        code = std::error_code(errno, std::system_category());
    if (code)
        return fail(code.value(), "{}: cannot make its directory", path);
    remove_abandoned(directory);
    // Under another name first: nobody finds it before it is its owner's.
    const std::string fresh = path + ".new";
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    if (fresh.size() >= sizeof address.sun_path)
        return fail(ENAMETOOLONG, "{}: cannot listen there", path);
    std::ranges::copy(fresh, address.sun_path);
    ::unlink(fresh.c_str());
    made.socket_ = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made.socket_)
        return fail(errno, "cannot make a socket");
    const mode_t mask = ::umask(0177);
    const int bound = ::bind(made.socket_.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address);
    const int bind_error = errno;
    ::umask(mask);
    if (bound < 0)
        return fail(bind_error, "{}: cannot listen there", path);
    if (::lchown(fresh.c_str(), owner, static_cast<gid_t>(-1)) < 0 || ::listen(made.socket_.get(), 8) < 0 ||
        ::rename(fresh.c_str(), path.c_str()) < 0) {
        const int error = errno;
        ::unlink(fresh.c_str());
        return fail(error, "{}: cannot listen there", path);
    }
    made.path_ = path;
    return made;
}

ListeningSocket::~ListeningSocket() {
    if (!path_.empty())
        ::unlink(path_.c_str());
}

Result<std::unique_ptr<Server>> Server::make(sd_event *event, Fd socket, uid_t owner,
                                             std::function<void(pid_t client)> attached) {
    std::unique_ptr<Server> server(new Server(event, std::move(socket), owner, std::move(attached)));
    sd_event_source *source = nullptr;
    int r = sd_event_add_io(event, &source, server->socket_.get(), EPOLLIN, on_connection, server.get());
    if (r >= 0) {
        server->listening_.reset(source);
        r = sd_event_source_set_enabled(source, SD_EVENT_OFF);
    }
    if (r >= 0) {
        r = sd_event_add_defer(event, &source, on_sweep, server.get());
    }
    if (r >= 0) {
        server->sweep_.reset(source);
        r = sd_event_source_set_enabled(source, SD_EVENT_OFF);
    }
    if (r < 0)
        return fail(-r, "cannot watch the session's socket");
    return server;
}

void Server::open() { (void)sd_event_source_set_enabled(listening_.get(), SD_EVENT_ON); }

Result<> Server::add(Master master) {
    if (terminals_.size() == terminal_limit)
        return fail(EMFILE, "terminal pts/{}: a session cannot have more than {}", master.index, terminal_limit);
    terminals_.push_back(TRY(ServedTerminal::make(
        event_, std::move(master), [this](ServedTerminal &terminal) { close_terminal(terminal, ended); })));
    std::ranges::sort(terminals_, {}, &ServedTerminal::index);
    return {};
}

int Server::on_connection(sd_event_source * /*source*/, int fd, uint32_t /*events*/, void *self) {
    auto &server = *static_cast<Server *>(self);
    Fd connection(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection) {
        // Whoever is refused sees the end of the connection.
        [[maybe_unused]] const auto admitted = server.admit(std::move(connection));
    }
    return 0;
}

Result<> Server::admit(Fd connection) {
    ucred peer = {};
    socklen_t length = sizeof peer;
    if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return fail(errno, "a client does not say who it is");
    if (peer.uid != owner_ && peer.uid != 0)
        return fail(EPERM, "user {} may not attach", peer.uid);
    if (clients_.size() >= client_limit)
        return fail(EMFILE, "too many clients");
    clients_.push_back(
        TRY(Client::make(event_, std::move(connection), {.pid = peer.pid, .uid = peer.uid},
                         {.message = [this](Client &client, const ClientMessage &message) { hear(client, message); },
                          .behind =
                              [this](Client &client) {
                                  if (ServedTerminal *terminal = terminal_of(client))
                                      terminal->refresh(client);
                              },
                          .gone =
                              [this](const Client &client) {
                                  if (ServedTerminal *terminal = terminal_of(client))
                                      terminal->leave(client);
                                  sweep_later();
                              }})));
    return {};
}

void Server::hear(Client &client, const ClientMessage &message) {
    ServedTerminal *terminal = terminal_of(client);
    if (const auto *attach_to = std::get_if<Attach>(&message)) {
        attach(client, *attach_to);
    } else if (const auto *to_watch = std::get_if<Watch>(&message)) {
        watch(client, *to_watch);
    } else if (std::holds_alternative<List>(message)) {
        Terminals list;
        for (const auto &each : terminals_)
            list.entries.push_back(each->entry());
        client.send(list);
    } else if (const auto *of = std::get_if<Picture>(&message)) {
        show_once(client, of->terminal);
    } else if (std::holds_alternative<Detach>(message)) {
        if (terminal != nullptr)
            terminal->leave(client);
        client.end("detached");
    } else if (terminal == nullptr) {
        client.end("protocol error: not attached");
    } else if (terminal->client() != &client) {
        client.end("protocol error: who watches says nothing");
    } else if (const auto *input = std::get_if<Input>(&message)) {
        terminal->input(input->data);
    } else if (const auto *resize = std::get_if<Resize>(&message)) {
        terminal->resize(resize->size);
    }
}

ServedTerminal *Server::let_in(Client &client, uint32_t index, ServedTerminal *any) {
    if (terminal_of(client) != nullptr) {
        client.end("protocol error: attached already");
        return nullptr;
    }
    ServedTerminal *terminal = any;
    if (index != any_terminal) {
        const auto found = std::ranges::find(terminals_, index, &ServedTerminal::index);
        terminal = found == terminals_.end() ? nullptr : found->get();
    }
    if (terminal == nullptr) {
        client.end(index == any_terminal ? "the session has no terminal to attach to"
                                         : fmt::format("the session has no terminal pts/{}", index));
        return nullptr;
    }
    if (sits_on_ours(client.peer().pid)) {
        client.end("you are in this session already");
        return nullptr;
    }
    return terminal;
}

void Server::attach(Client &client, const Attach &request) {
    ServedTerminal *terminal = let_in(client, request.terminal, free_one());
    if (terminal == nullptr)
        return;
    if (Client *before = terminal->client()) {
        terminal->leave(*before);
        before->end("attached from elsewhere");
    }
    client.send(Attached{terminal->index()});
    if (!client.gone())
        terminal->attach(client, request.size);
    if (attached_ && client.peer().uid == owner_)
        attached_(client.peer().pid);
}

void Server::watch(Client &client, const Watch &request) {
    ServedTerminal *terminal = let_in(client, request.terminal, used_one());
    if (terminal == nullptr)
        return;
    client.send(Attached{terminal->index()});
    if (!client.gone())
        terminal->watch(client);
}

void Server::show_once(Client &client, uint32_t index) {
    const auto found = std::ranges::find(terminals_, index, &ServedTerminal::index);
    if (found == terminals_.end())
        return client.end(fmt::format("the session has no terminal pts/{}", index));
    (*found)->drain();
    (*found)->refresh(client);
    client.end("that is the picture");
}

ServedTerminal *Server::terminal_of(const Client &client) {
    const auto found = std::ranges::find_if(terminals_, [&](const auto &each) { return each->shown_to(client); });
    return found == terminals_.end() ? nullptr : found->get();
}

ServedTerminal *Server::free_one() {
    auto found = std::ranges::find(terminals_, nullptr, [](const auto &each) { return each->client(); });
    if (found == terminals_.end())
        found = terminals_.begin();
    return found == terminals_.end() ? nullptr : found->get();
}

ServedTerminal *Server::used_one() {
    auto found = std::ranges::find_if(terminals_, [](const auto &each) { return each->client() != nullptr; });
    if (found == terminals_.end())
        found = terminals_.begin();
    return found == terminals_.end() ? nullptr : found->get();
}

bool Server::sits_on_ours(pid_t peer) const {
    const auto index = controlling_terminal(peer);
    return index && std::ranges::any_of(terminals_, [&](const auto &each) { return each->index() == *index; });
}

void Server::process_ended(pid_t pid) {
    for (size_t i = terminals_.size(); i-- > 0;) {
        if (terminals_[i]->leader() == pid) {
            terminals_[i]->drain();
            close_terminal(*terminals_[i], ended);
        }
    }
}

void Server::close_terminal(ServedTerminal &terminal, const std::string &why) {
    const auto found = std::ranges::find(terminals_, &terminal, &std::unique_ptr<ServedTerminal>::get);
    if (found == terminals_.end())
        return;
    std::vector<Client *> clients = terminal.watchers();
    if (terminal.client() != nullptr)
        clients.push_back(terminal.client());
    for (const Client *client : clients)
        terminal.leave(*client);
    closed_.push_back(std::move(*found));
    terminals_.erase(found);
    sweep_later();
    for (Client *client : clients)
        client->end(why);
}

void Server::close(const std::string &why) {
    listening_.reset();
    while (!terminals_.empty()) {
        terminals_.back()->drain();
        close_terminal(*terminals_.back(), why);
    }
    for (const auto &client : clients_)
        client->end(why);
}

void Server::sweep_later() { (void)sd_event_source_set_enabled(sweep_.get(), SD_EVENT_ONESHOT); }

int Server::on_sweep(sd_event_source * /*source*/, void *self) {
    auto &server = *static_cast<Server *>(self);
    std::erase_if(server.clients_, [](const auto &client) { return client->gone(); });
    server.closed_.clear();
    return 0;
}

} // namespace abey::session
