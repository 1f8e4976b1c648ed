// SPDX-License-Identifier: LGPL-2.1-or-later
//
// unix(7) sockets: made all together, because their ends and names depend on each other.
#include "engine/rebuild/unix_socket.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/unix_names.h"

#include <algorithm>

namespace abey::rebuild {
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

struct Pair {
    Fd first, second;
};

// socketpair(2); each end tells that this user is at the other.
Result<Pair> unnamed_pair(const UnixSocket &owner) {
    int ends[2] = {-1, -1};
    const ActingAs user(owner.owner_uid, owner.owner_gid);
    if (::socketpair(AF_UNIX, owner.type | SOCK_CLOEXEC, 0, ends) < 0)
        return fail(errno, "cannot make a pair of unix sockets");
    return Pair{Fd(ends[0]), Fd(ends[1])};
}

// The client's end (first) and the accepted one (second), which shows its listener's name. The listener is one of our
// own, in an empty root, so that nobody else can come in between; of an abstract name somebody could, and is sent away.
Result<Pair> accepted_pair(const UnixSocket &client, const UnixSocket &server) {
    Fd listener = TRY(new_socket(server.type));
    TRY(bind_aside(listener, server.name));
    {
        const ActingAs user(server.owner_uid, server.owner_gid);
        if (::listen(listener.get(), 1) < 0)
            return fail(errno, "cannot listen");
    }
    Pair pair;
    pair.first = TRY(new_socket(server.type));
    if (!client.name.empty())
        TRY(bind_aside(pair.first, client.name));
    const auto address = TRY(to_address(server.name));
    {
        const ActingAs user(client.owner_uid, client.owner_gid);
        if (::connect(pair.first.get(), address.get(), address.size) < 0)
            return fail(errno, "cannot connect two unix sockets");
    }
    for (;;) {
        pair.second = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!pair.second)
            return fail(errno, "cannot accept the connection of a unix socket");
        ucred peer = {};
        socklen_t size = sizeof peer;
        if (::getsockopt(pair.second.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == ::getpid())
            return pair;
    }
}

class Builder {
  public:
    Builder(Context &context, UnixSockets &sockets) : tree_(context.tree), sockets_(sockets) {}

    Result<> build() {
        for (const auto &[id, socket] : tree_.unix_sockets)
            pending_.insert(socket.pending.begin(), socket.pending.end());
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (socket.state == SocketState::listening)
                listening_names_.insert(socket.name);
        TRY(run_aside(false, [this] { return connect_outside(); }));
        TRY(run_aside(true, [this] { return build_aside(); }));
        TRY(run_aside(false, [this] { return build_in_place(); }));
        return {};
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

    // Connected ones, and those whose name leads nowhere.
    Result<> build_aside() {
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (!sockets_.made.contains(id) && is_connected_pair(socket))
                TRY_IN(make_connected(socket), "{}", described(socket));
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (!sockets_.made.contains(id) && !pending_.contains(id) && !has_place(socket))
                TRY_IN(make_alone(socket), "{}", described(socket));
        return {};
    }

    Result<> build_in_place() {
        for (const auto &[id, socket] : tree_.unix_sockets)
            if (!sockets_.made.contains(id) && has_place(socket))
                TRY_IN(make_alone(socket), "{}", described(socket));
        return connect_pending();
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

    Result<> make_connected(const UnixSocket &socket) {
        UnixSocket stranger; // stands for a peer that no process of the tree has
        stranger.type = socket.type;
        stranger.name = socket.peer_name;
        stranger.owner_uid = socket.peer_uid;
        stranger.owner_gid = socket.peer_gid;
        const UnixSocket *peer = socket.peer == 0 ? &stranger : TRY(find(tree_.unix_sockets, socket.peer));
        if (socket.peer != 0 &&
            (peer->peer != socket.id || peer->type != socket.type || sockets_.made.contains(peer->id)))
            return fail(EBADMSG, "the checkpoint names a peer that is not its peer");
        const UnixSocket &server = choose_server(socket, *peer);
        const UnixSocket &client = &server == &socket ? *peer : socket;
        Result<Pair> pair =
            server.name.empty() || server.type == SOCK_DGRAM ? unnamed_pair(client) : accepted_pair(client, server);
        // the abstract name of a stranger may well be taken: by the stranger
        if (!pair && pair.error().code() == EADDRINUSE && &server == &stranger)
            pair = unnamed_pair(stranger);
        if (!pair)
            return std::unexpected(std::move(pair).error());
        Fd &own = &client == &socket ? pair->first : pair->second;
        Fd &other = &client == &socket ? pair->second : pair->first;
        auto &made = sockets_.made[socket.id];
        made.file = std::move(own);
        if (socket.peer != 0)
            sockets_.made[socket.peer].file = std::move(other);
        else
            made.other = std::move(other);
        return {};
    }

    // Only a socket with a name can have been connected to.
    [[nodiscard]] const UnixSocket &choose_server(const UnixSocket &a, const UnixSocket &b) const {
        if (a.name.empty() || b.name.empty())
            return a.name.empty() ? b : a;
        return listening_names_.contains(a.name) ? a : b;
    }

    // Bound, listening, or neither.
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
        if (socket.state == SocketState::listening) {
            const ActingAs user(socket.owner_uid, socket.owner_gid);
            if (::listen(fd.get(), static_cast<int>(socket.backlog)) < 0)
                return fail(errno, "cannot listen");
        }
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
        // never waits: the queue was long enough before
        const int flags = ::fcntl(fd.get(), F_GETFL);
        static_cast<void>(::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK));
        int failed = 0;
        {
            const ActingAs user(client.owner_uid, client.owner_gid);
            failed = ::connect(fd.get(), address.get(), address.size);
        }
        // the name's mode may have become stricter since the client connected
        if (failed < 0 && errno == EACCES)
            failed = ::connect(fd.get(), address.get(), address.size);
        if (failed < 0)
            return fail(errno, "cannot put a waiting connection into its queue again");
        static_cast<void>(::fcntl(fd.get(), F_SETFL, flags));
        sockets_.made[client.id].file = std::move(fd);
        return {};
    }

    const model::Tree &tree_;
    UnixSockets &sockets_;
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

UnixSockets::~UnixSockets() {
    if (!finished)
        for (const auto &name : bound)
            remove_name(name);
}

Result<UnixAddress> way_to(const UnixSockets &sockets, const UnixSocket &socket) {
    const auto made = sockets.made.find(socket.id);
    if (made == sockets.made.end() || !made->second.node)
        return to_address(socket.name);
    return to_address(fmt::format("/proc/self/fd/{}", made->second.node.get()));
}

std::string described(const UnixSocket &socket) {
    std::string name = socket.name.empty() ? fmt::format("socket:[{}]", socket.number) : socket.name;
    std::ranges::replace(name, '\0', '@');
    return "unix socket " + name;
}

Kind unix_socket_kind() {
    return {.name = "unix socket",
            .payload = payload_index<model::SocketFile>(),
            .create = create,
            .fill = fill_unix_sockets,
            .in_task = nullptr,
            .finish = finish};
}

} // namespace abey::rebuild
