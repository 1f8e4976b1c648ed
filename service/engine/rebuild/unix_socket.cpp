// SPDX-License-Identifier: LGPL-2.1-or-later
//
// unix(7) sockets: made all together, because their ends and names depend on each other.
#include "engine/rebuild/unix_socket.h"

#include "engine/rebuild/as_process.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/unix_names.h"

#include <algorithm>
#include <list>

namespace abey::rebuild {
namespace unix_socket {
namespace {

using model::SocketState;
using model::UnixSocket;

bool is_abstract(const UnixSocket &socket) { return socket.name.starts_with('\0'); }

// Does others' way to it lead through the file system?
bool has_place(const UnixSocket &socket) {
    return (socket.name.starts_with('/') || !socket.directory.empty()) && !socket.name_unlinked &&
           socket.state != SocketState::connected;
}

Result<Fd> new_socket(int type) {
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
        return fail(EBADMSG, "the checkpoint has a unix socket of type {}", type);
    Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    if (!fd)
        return fail(errno, "cannot make a unix socket");
    return fd;
}

AsProcess as_owner(Context &context, const UnixSocket &socket) {
    return {context, socket.owner_pid, socket.owner_uid, socket.owner_gid, socket.owner_groups};
}

// A connection that is to be made, or a pair: of one socket of the tree with another, or with one that nobody has.
struct Connection {
    UnixSocket stranger;                                   // stands for a peer that no process of the tree has
    const UnixSocket *socket = nullptr, *peer = nullptr;   // one of them is
    const UnixSocket *client = nullptr, *server = nullptr; // the other
    // Where the server has its name from a listener: one of our own, in an empty root, so that nobody else can come in
    // between; of an abstract name somebody could, and is sent away.
    Fd listener, connector;
    std::string way; // to the listener, in that root

    [[nodiscard]] bool is_pair() const { return server->name.empty() || server->type == SOCK_DGRAM; }
};

class Builder {
  public:
    Builder(Context &context, UnixSockets &sockets) : context_(context), tree_(context.tree), sockets_(sockets) {}

    Result<> build() {
        for (const auto &[id, socket] : tree_.unix_sockets)
            pending_.insert(socket.pending.begin(), socket.pending.end());
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (socket.state == SocketState::listening)
                listening_names_.insert(socket.name);
        TRY(run_aside(false, [this] { return connect_outside(); }));
        TRY(run_aside(true, [this] { return prepare_connections(); }));
        TRY(make_connections());
        // those whose name leads nowhere
        TRY(run_aside(true, [this] { return bind_all(false); }));
        TRY(run_aside(false, [this] { return bind_all(true); }));
        TRY(listen_all());
        return connect_pending();
    }

  private:
    // A new connection to whoever has the name of the former peer now; nobody: it is hung up like others.
    Result<> connect_outside(const UnixSocket &socket) {
        if (!socket.reconnect || socket.peer != 0 || socket.peer_name.empty() || socket.type == SOCK_DGRAM)
            return {};
        Fd fd = TRY(new_socket(socket.type));
        const auto address = TRY(to_address(socket.peer_name));
        const int flags = ::fcntl(fd.get(), F_GETFL);
        // a peer that does not accept must not stop the resume
        static_cast<void>(::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK));
        {
            const ActingAs user(socket.owner_uid, socket.owner_gid);
            if (::connect(fd.get(), address.get(), address.size) < 0)
                return {};
        }
        if (::send(fd.get(), socket.greeting.data(), socket.greeting.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(socket.greeting.size()))
            return {};
        static_cast<void>(::fcntl(fd.get(), F_SETFL, flags));
        sockets_.made[socket.id].file = std::move(fd);
        sockets_.made[socket.id].anew = true;
        return {};
    }

    Result<> connect_outside() {
        for (const auto &[id, socket] : tree_.unix_sockets)
            TRY_IN(connect_outside(socket), "{}", described(socket));
        return {};
    }

    Result<> prepare_connections() {
        aside_ = TRY(abey::open_file("/", O_PATH | O_DIRECTORY));
        std::set<model::ObjRef> prepared;
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (!sockets_.made.contains(id) && !prepared.contains(id) && is_connected_pair(socket)) {
                TRY_IN(prepare(socket, prepared), "{}", described(socket));
                prepared.insert({id, socket.peer});
            }
        return {};
    }

    Result<> make_connections() {
        for (Connection &connection : connections_)
            TRY_IN(make(connection), "{}", described(*connection.socket));
        connections_.clear();
        return {};
    }

    Result<> bind_all(bool in_place) {
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (!sockets_.made.contains(id) && !pending_.contains(id) && has_place(socket) == in_place)
                TRY_IN(make_alone(socket), "{}", described(socket));
        return {};
    }

    Result<> listen_all() {
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (const auto made = sockets_.made.find(id);
                made != sockets_.made.end() && socket.state == SocketState::listening)
                TRY_IN(as_owner(context_, socket).listen(made->second.file, socket.backlog), "{}", described(socket));
        return {};
    }

    [[nodiscard]] bool is_connected_pair(const UnixSocket &socket) const {
        if (pending_.contains(socket.id) || socket.state != SocketState::connected)
            return false;
        if (socket.type != SOCK_DGRAM)
            return true;
        // datagrams: only what socketpair(2) made; the others connect to a name, after filling
        return socket.name.empty() && (is_mutual(socket) || (socket.peer == 0 && socket.peer_name.empty()));
    }

    [[nodiscard]] bool is_mutual(const UnixSocket &socket) const {
        const auto peer = tree_.unix_sockets.find(socket.peer);
        return peer != tree_.unix_sockets.end() && peer->second.peer == socket.id && peer->second.name.empty();
    }

    Result<> prepare(const UnixSocket &socket, const std::set<model::ObjRef> &prepared) {
        Connection &connection = connections_.emplace_back();
        connection.socket = &socket;
        connection.stranger.type = socket.type;
        connection.stranger.name = socket.peer_name;
        connection.stranger.owner_pid = socket.peer_pid;
        connection.stranger.owner_uid = socket.peer_uid;
        connection.stranger.owner_gid = socket.peer_gid;
        connection.stranger.owner_groups = socket.peer_groups;
        connection.peer = socket.peer == 0 ? &connection.stranger : TRY(find(tree_.unix_sockets, socket.peer));
        if (socket.peer != 0 && (connection.peer->peer != socket.id || connection.peer->type != socket.type ||
                                 sockets_.made.contains(socket.peer) || prepared.contains(socket.peer)))
            return fail(EBADMSG, "the checkpoint names a peer that is not its peer");
        connection.server = &choose_server(socket, *connection.peer);
        connection.client = connection.server == &socket ? connection.peer : &socket;
        if (connection.is_pair())
            return {};
        connection.listener = TRY(new_socket(socket.type));
        connection.connector = TRY(new_socket(socket.type));
        if (!is_abstract(*connection.server)) {
            TRY(bind_aside(connection.listener, connection.server->name));
            // the next one may have the same name
            connection.way = fmt::format("abeyance-{}", connections_.size());
            if (::link(connection.server->name.c_str(), connection.way.c_str()) < 0)
                return fail(errno, "cannot link a unix socket to another name");
        }
        if (!is_abstract(*connection.client))
            TRY(bind_aside(connection.connector, connection.client->name));
        return {};
    }

    Result<> make(Connection &connection) {
        const UnixSocket &client = *connection.client;
        Result<SocketPair> pair =
            connection.is_pair() ? as_owner(context_, client).pair(client.type) : accepted_pair(connection);
        // the abstract name of a stranger may well be taken: by the stranger
        if (!pair && pair.error().code() == EADDRINUSE && connection.server == &connection.stranger)
            pair = as_owner(context_, connection.stranger).pair(client.type);
        if (!pair)
            return std::unexpected(std::move(pair).error());
        const UnixSocket &socket = *connection.socket;
        auto &made = sockets_.made[socket.id];
        made.file = std::move(&client == &socket ? pair->first : pair->second);
        Fd &other = &client == &socket ? pair->second : pair->first;
        if (socket.peer != 0)
            sockets_.made[socket.peer].file = std::move(other);
        else
            made.other = std::move(other);
        return {};
    }

    // The client's end (first) and the accepted one (second), which shows its listener's name.
    Result<SocketPair> accepted_pair(Connection &connection) {
        const UnixSocket &server = *connection.server;
        if (is_abstract(server))
            TRY(bind_aside(connection.listener, server.name));
        if (is_abstract(*connection.client))
            TRY(bind_aside(connection.connector, connection.client->name));
        TRY(as_owner(context_, server).listen(connection.listener, 1));
        AsProcess client = as_owner(context_, *connection.client);
        const auto address = TRY(to_address(is_abstract(server) ? server.name : connection.way));
        TRY(client.connect(connection.connector, address, is_abstract(server) ? nullptr : &aside_));
        SocketPair pair;
        pair.first = std::move(connection.connector);
        const Fd listener = std::move(connection.listener); // its name is needed again
        for (;;) {
            pair.second = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!pair.second)
                return fail(errno, "cannot accept the connection of a unix socket");
            ucred peer = {};
            socklen_t size = sizeof peer;
            if (::getsockopt(pair.second.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == client.pid())
                return pair;
        }
    }

    // Only a socket with a name can have been connected to.
    [[nodiscard]] const UnixSocket &choose_server(const UnixSocket &a, const UnixSocket &b) const {
        if (a.name.empty() || b.name.empty())
            return a.name.empty() ? b : a;
        return listening_names_.contains(a.name) ? a : b;
    }

    // Bound, or not.
    Result<> make_alone(const UnixSocket &socket) {
        Fd fd = TRY(new_socket(socket.type));
        if (has_place(socket)) {
            const NodeAttributes attributes = {socket.name_mode, socket.name_uid, socket.name_gid};
            TRY(bind_in_place(fd, socket.type, socket.directory, socket.name, attributes));
            const std::string path = socket.directory.empty() ? socket.name : socket.directory + "/" + socket.name;
            sockets_.bound.push_back({path, attributes});
        } else {
            TRY(bind_aside(fd, socket.name));
        }
        if (!socket.name.empty() && !is_abstract(socket))
            sockets_.made[socket.id].node = TRY(abey::open_file(socket.name, O_PATH | O_NOFOLLOW));
        sockets_.made[socket.id].file = std::move(fd);
        return {};
    }

    Result<> connect_pending() {
        for (const auto &[id, listener] : tree_.unix_sockets)
            for (const model::ObjRef client : listener.pending) {
                UnixSocket gone; // stands for a client that is no more
                gone.type = listener.type;
                const UnixSocket *waiting = client == 0 ? &gone : TRY(find(tree_.unix_sockets, client));
                TRY_IN(connect_client(*waiting, listener), "{}", described(listener));
            }
        sockets_.made.erase(0);
        return {};
    }

    Result<> connect_client(const UnixSocket &client, const UnixSocket &listener) {
        Fd fd = TRY(new_socket(client.type));
        if (!client.name.empty())
            TRY(bind_aside(fd, is_abstract(client) ? client.name : std::string()));
        const auto address = TRY(way_to(sockets_, listener));
        const auto there = sockets_.made.find(listener.id);
        const Fd *node = there == sockets_.made.end() || !there->second.node ? nullptr : &there->second.node;
        // never waits: the queue was long enough before
        const int flags = ::fcntl(fd.get(), F_GETFL);
        static_cast<void>(::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK));
        AsProcess owner = as_owner(context_, client);
        auto connected = node == nullptr ? owner.connect(fd, address) : owner.connect_to(fd, *node);
        // it may see no /proc; or the name's mode has become stricter since
        if (!connected && (connected.error().code() == ENOENT || connected.error().code() == ENOTDIR))
            connected = AsProcess(context_, 0, client.owner_uid, client.owner_gid, {}).connect(fd, address);
        if (!connected && connected.error().code() == EACCES)
            connected = AsProcess(context_, 0, 0, 0, {}).connect(fd, address);
        if (!connected)
            return within(std::move(connected).error(), "cannot put a waiting connection into its queue again");
        static_cast<void>(::fcntl(fd.get(), F_SETFL, flags));
        sockets_.made[client.id].file = std::move(fd);
        return {};
    }

    Context &context_;
    const model::Tree &tree_;
    UnixSockets &sockets_;
    std::list<Connection> connections_;
    Fd aside_; // the empty root in which their listeners are
    std::set<model::ObjRef> pending_;
    std::set<std::string> listening_names_;
};

Result<Fd> create(Context &context, const model::OpenFile &file) {
    auto &sockets = context.state<UnixSockets>();
    if (!std::exchange(sockets.built, true))
        TRY(Builder(context, sockets).build());
    const model::ObjRef id = std::get<model::SocketFile>(file.payload).socket;
    const auto made = sockets.made.find(id);
    if (made == sockets.made.end() || !made->second.file)
        return fail(EBADMSG, "the checkpoint has no unix socket {}", id);
    made->second.number = made->second.file.get();
    return std::move(made->second.file);
}

Result<> finish(Context &context) {
    context.state<UnixSockets>().finished = true;
    return {};
}

} // namespace
} // namespace unix_socket

UnixSockets::~UnixSockets() {
    if (!finished)
        for (const auto &name : bound)
            remove_name(name);
}

Result<UnixAddress> way_to(const UnixSockets &sockets, const model::UnixSocket &socket) {
    const auto made = sockets.made.find(socket.id);
    if (made == sockets.made.end() || !made->second.node)
        return to_address(socket.name);
    return to_address(fmt::format("/proc/self/fd/{}", made->second.node.get()));
}

std::string described(const model::UnixSocket &socket) {
    std::string name = socket.name.empty() ? fmt::format("socket:[{}]", socket.number) : socket.name;
    std::ranges::replace(name, '\0', '@');
    return "unix socket " + name;
}

Kind unix_socket_kind() {
    return {.name = "unix socket",
            .payload = payload_index<model::SocketFile>(),
            .create = unix_socket::create,
            .fill = fill_unix_sockets,
            .in_task = nullptr,
            .finish = unix_socket::finish};
}

} // namespace abey::rebuild
