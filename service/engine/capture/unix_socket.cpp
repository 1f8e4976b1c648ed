// SPDX-License-Identifier: LGPL-2.1-or-later
//
// unix(7) sockets.
#include "engine/capture/unix_socket.h"
#include "engine/capture/mounts.h"

#include "engine/capture/inet_socket.h"
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"
#include "engine/capture/socket_queue.h"
#include "engine/capture/unix_diag.h"
#include "engine/capture/unix_peer.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <set>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

namespace abey::capture {
namespace unix_socket {
namespace {

// As sock_diag(7) tells the state of unix sockets
constexpr int state_connected = 1;
constexpr int state_listening = 10;
constexpr unsigned receive_shut = 1, send_shut = 2;

// Context::state: sockets by number, and the one open file of each.
struct UnixSockets {
    std::map<uint64_t, model::ObjRef> by_number;
    std::map<model::ObjRef, model::ObjRef> open_file;
    std::set<model::ObjRef> queue_read;
};

template <class T> Result<T> option(const Fd &socket, int name) {
    T value = {};
    socklen_t size = sizeof value;
    if (::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) < 0)
        return fail(errno, "cannot ask the socket for option {}", name);
    return value;
}

bool matches(const Seen &seen) {
    return S_ISSOCK(seen.stat.st_mode) && (seen.flags & O_PATH) == 0 &&
           option<int>(*seen.file, SO_DOMAIN).value_or(-1) == AF_UNIX;
}

Result<model::SocketOptions> options(const Fd &socket) {
    const auto microseconds = [](const timeval &time) {
        return static_cast<uint64_t>(time.tv_sec) * 1'000'000U + static_cast<uint64_t>(time.tv_usec);
    };
    const auto linger_option = TRY(option<linger>(socket, SO_LINGER));
    model::SocketOptions options;
    options.send_buffer = TRY(option<uint32_t>(socket, SO_SNDBUF));
    options.receive_buffer = TRY(option<uint32_t>(socket, SO_RCVBUF));
    options.pass_credentials = TRY(option<int>(socket, SO_PASSCRED)) != 0;
    options.pass_security = TRY(option<int>(socket, SO_PASSSEC)) != 0;
    options.peek_offset = TRY(option<int>(socket, SO_PEEK_OFF));
    options.linger = linger_option.l_onoff != 0;
    options.linger_seconds = linger_option.l_linger;
    options.receive_timeout_us = microseconds(TRY(option<timeval>(socket, SO_RCVTIMEO)));
    options.send_timeout_us = microseconds(TRY(option<timeval>(socket, SO_SNDTIMEO)));
    options.priority = TRY(option<int>(socket, SO_PRIORITY));
    options.low_water = TRY(option<int>(socket, SO_RCVLOWAT));
    return options;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    auto &sockets = context.state<UnixSockets>();
    model::UnixSocket socket;
    socket.number = seen.stat.st_ino;
    socket.type = TRY(option<int>(*seen.file, SO_TYPE));
    socket.options = TRY(options(*seen.file));
    socket.id = context.tree.next_id();
    const model::ObjRef id = socket.id;
    sockets.by_number.emplace(socket.number, id);
    context.tree.unix_sockets.emplace(id, std::move(socket));
    return model::SocketFile{.socket = id};
}

void index_open_files(Context &context) {
    auto &sockets = context.state<UnixSockets>();
    for (const auto &[id, file] : context.tree.open_files)
        if (const auto *socket = std::get_if<model::SocketFile>(&file.payload))
            sockets.open_file[socket->socket] = id;
}

const OpenFiles::Entry &held(Context &context, model::ObjRef socket) {
    return context.state<OpenFiles>().held(context.state<UnixSockets>().open_file.at(socket));
}

// Does the bound path still lead to the socket? Paths of unix sockets are those of the process that bound it; where a
// relative one began is not told, but often enough the process is still there.
void look_up_name(const Seen &seen, const UnixDiag &diag, model::UnixSocket &socket) {
    socket.name_unlinked = true;
    struct stat st = {};
    if (diag.name.empty())
        return;
    const bool absolute = diag.name.front() == '/';
    const std::string path = fmt::format("/proc/{}/{}{}", seen.pid, absolute ? "root" : "cwd/", diag.name);
    if (::lstat(path.c_str(), &st) < 0 || !S_ISSOCK(st.st_mode) ||
        static_cast<uint32_t>(st.st_ino) != diag.vfs_inode.value_or(0))
        return;
    if (!absolute) {
        const auto directory = read_link(fmt::format("/proc/{}/cwd", seen.pid));
        if (!directory || !directory->starts_with('/') || directory->ends_with(" (deleted)"))
            return;
        socket.directory = *directory;
    }
    socket.name_unlinked = false;
    socket.name_mode = st.st_mode & 07777U;
    socket.name_uid = st.st_uid;
    socket.name_gid = st.st_gid;
}

// A name that only a mount namespace of the tree's own has could not be given to it again.
Result<> refuse_name_elsewhere(Context &context, const Seen &seen, const UnixDiag &diag,
                               const model::UnixSocket &socket) {
    if (!context.state<MountNamespaces>().by_pid.contains(seen.pid))
        return {};
    const std::string path = socket.directory.empty() ? socket.name : socket.directory + "/" + socket.name;
    struct stat theirs = {};
    struct stat ours = {};
    const bool same = ::lstat(fmt::format("/proc/{}/root{}", seen.pid, path).c_str(), &theirs) == 0 &&
                      ::lstat(path.c_str(), &ours) == 0 && ours.st_dev == theirs.st_dev &&
                      ours.st_ino == theirs.st_ino && static_cast<uint32_t>(ours.st_ino) == diag.vfs_inode;
    if (same)
        return {};
    return fail(0,
                "it is bound to {} in a mount namespace of its own, which cannot be brought back yet; end the program",
                path);
}

struct Peer {
    ucred ids = {};
    std::vector<uint32_t> groups;
};

bool lives(int32_t pid) { return ::kill(pid, 0) == 0 || errno == EPERM; }

// A process that lives outside has a number that may be another's there; one that has ended can have it again.
int32_t of_tree(const Context &context, int32_t pid) {
    return pid <= 0 || !context.is_inside || context.is_inside(pid) || !lives(pid) ? pid : 0;
}

// SO_PEERCRED and SO_PEERGROUPS
Result<Peer> peer_of(const Fd &socket) {
    Peer peer;
    peer.ids = TRY(option<ucred>(socket, SO_PEERCRED));
    constexpr size_t most_groups = 65536; // NGROUPS_MAX
    gid_t none = 0;
    socklen_t size = 0;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERGROUPS, &none, &size) < 0 && errno == ERANGE) {
        peer.groups.resize(std::min(most_groups, size / sizeof(gid_t)));
        if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &size) < 0)
            return fail(errno, "cannot ask the socket for its peer's groups");
    }
    return peer;
}

void set_owner(Context &context, model::UnixSocket &socket, Peer owner) {
    socket.owner_pid = of_tree(context, owner.ids.pid);
    if (socket.owner_pid == 0 && owner.ids.pid > 0)
        context.findings.push_back(socket_finding(
            held(context, socket.id).seen,
            fmt::format("it was made by process {} outside, whom SO_PEERCRED tells at its other end: after the restore "
                        "it will tell another process of the same user",
                        owner.ids.pid)));
    socket.owner_uid = owner.ids.uid;
    socket.owner_gid = owner.ids.gid;
    socket.owner_groups = std::move(owner.groups);
}

// Whom the socket that accepts a waiting client will be told; the client itself does not tell.
Result<> set_owner_of_waiting(Context &context, model::UnixSocket &client, const Seen &seen) {
    const auto status = TRY(os::read_status(seen.pid));
    const ucred ids = {.pid = seen.pid, .uid = status.uids[1], .gid = status.gids[1]}; // effective
    set_owner(context, client, {ids, status.groups});
    return {};
}

Result<std::string> peer_name(const Fd &file) {
    sockaddr_un address = {};
    socklen_t size = sizeof address;
    if (::getpeername(file.get(), reinterpret_cast<sockaddr *>(&address), &size) < 0)
        return errno == ENOTCONN ? Result<std::string>("") : fail(errno, "cannot ask for the peer's name");
    if (size <= offsetof(sockaddr_un, sun_path))
        return "";
    std::string name(address.sun_path,
                     std::min<size_t>(size - offsetof(sockaddr_un, sun_path), sizeof address.sun_path));
    if (name.front() != '\0')
        name.resize(std::min(name.find('\0'), name.size()));
    return name;
}

Result<> complete_listener(Context &context, const UnixDiag &diag, const UnixDiags &diags, model::UnixSocket &socket) {
    const auto &entry = held(context, socket.id);
    const auto &sockets = context.state<UnixSockets>();
    socket.state = model::SocketState::listening;
    socket.backlog = diag.write_queue;
    set_owner(context, socket, TRY(peer_of(entry.file)));
    size_t strangers = 0;
    size_t closed = 0;
    for (const uint32_t number : diag.pending) {
        if (number == 0) { // its end shows after accept(2) only
            ++closed;
            socket.pending.push_back(0);
            continue;
        }
        const auto client = sockets.by_number.find(number);
        if (client == sockets.by_number.end()) {
            ++strangers;
            continue;
        }
        const auto client_diag = diags.find(number);
        if (!context.preflight && client_diag != diags.end() && client_diag->second.write_queue != 0)
            return fail(EAGAIN, "it has sent data over a connection that has not been accepted yet; try again");
        TRY(set_owner_of_waiting(context, context.tree.unix_sockets.at(client->second),
                                 held(context, client->second).seen));
        socket.pending.push_back(client->second);
    }
    if (closed != 0)
        context.findings.push_back(socket_finding(
            entry.seen, fmt::format("{} connections wait to be accepted that have been closed at the other end; what "
                                    "they may have sent is lost",
                                    closed)));
    if (strangers != 0)
        context.findings.push_back(socket_finding(
            entry.seen,
            fmt::format("{} connections from outside wait to be accepted; they will be closed", strangers)));
    return {};
}

Result<> complete_peer(Context &context, const UnixDiag &diag, const std::set<uint64_t> &pending,
                       model::UnixSocket &socket) {
    const auto &entry = held(context, socket.id);
    const auto &sockets = context.state<UnixSockets>();
    socket.state = model::SocketState::connected;
    socket.peer_name = TRY(peer_name(entry.file));
    if (pending.contains(socket.number))
        return {}; // the listener names it
    const uint64_t number = diag.peer.value_or(0);
    if (const auto peer = sockets.by_number.find(number); number != 0 && peer != sockets.by_number.end()) {
        socket.peer = peer->second;
        if (socket.type != SOCK_DGRAM || context.tree.unix_sockets.at(peer->second).type == socket.type)
            set_owner(context, context.tree.unix_sockets.at(peer->second), TRY(peer_of(entry.file)));
        return {};
    }
    const bool gone = number == 0 && (socket.type == SOCK_DGRAM || diag.shutdown == (receive_shut | send_shut));
    auto told = TRY(peer_of(entry.file));
    socket.peer_pid = told.ids.pid;
    socket.peer_uid = told.ids.uid;
    socket.peer_gid = told.ids.gid;
    socket.peer_groups = std::move(told.groups);
    auto decided = gone ? Result<>() : decide_unix_peer(context, entry.seen, number, socket);
    socket.peer_pid = of_tree(context, socket.peer_pid);
    return decided;
}

Result<> complete_one(Context &context, const UnixDiags &diags, const std::set<uint64_t> &pending,
                      model::UnixSocket &socket) {
    const auto found = diags.find(static_cast<uint32_t>(socket.number));
    if (found == diags.end())
        return refuse_other_network();
    const UnixDiag &diag = found->second;
    const auto &entry = held(context, socket.id);
    socket.name = diag.name;
    socket.read_shut = (diag.shutdown & receive_shut) != 0;
    socket.write_shut = (diag.shutdown & send_shut) != 0;
    if (diag.vfs_inode) {
        look_up_name(entry.seen, diag, socket);
        if (!socket.name_unlinked && diag.state != state_connected)
            TRY(refuse_name_elsewhere(context, entry.seen, diag, socket));
        if (!socket.name.starts_with('/') && socket.directory.empty() && diag.state != state_connected)
            context.findings.push_back(
                socket_finding(entry.seen, fmt::format("its name is the relative path {}: after the restore "
                                                       "nobody can reach it by that name",
                                                       socket.name)));
    }
    if (diag.state == state_listening)
        return complete_listener(context, diag, diags, socket);
    if (diag.peer)
        return complete_peer(context, diag, pending, socket);
    return {};
}

Result<> complete(Context &context) {
    if (context.tree.unix_sockets.empty())
        return {};
    index_open_files(context);
    const UnixDiags diags = TRY(dump_unix_sockets());
    std::set<uint64_t> pending; // clients that wait at some listener of the tree
    for (const auto &[id, socket] : context.tree.unix_sockets)
        if (const auto diag = diags.find(static_cast<uint32_t>(socket.number)); diag != diags.end())
            pending.insert(diag->second.pending.begin(), diag->second.pending.end());
    for (auto &[id, socket] : context.tree.unix_sockets) {
        const auto &seen = held(context, id).seen;
        auto done = complete_one(context, diags, pending, socket);
        if (!done && context.preflight) {
            auto finding = socket_finding(seen, done.error().message());
            finding.fatal = true;
            context.findings.push_back(std::move(finding));
        } else if (!done) {
            return within(std::move(done).error(), "{}", seen.described());
        }
    }
    return {};
}

Result<> read_queue(Context &context, model::ObjRef id, const OpenFiles::Entry &entry) {
    const int type = context.tree.unix_sockets.at(id).type;
    if (TRY(option<int>(entry.file, SO_ACCEPTCONN)) != 0)
        return {};
    for (QueuedMessage &queued : TRY(peek_queue(entry.file, type))) {
        model::SocketMessage message;
        message.data = std::move(queued.data);
        message.source = std::move(queued.source);
        message.sender_pid = queued.sender_pid;
        message.sender_uid = queued.sender_uid;
        message.sender_gid = queued.sender_gid;
        for (const Fd &file : queued.rights) {
            const Seen seen = TRY(look_at(entry.seen.pid, entry.seen.comm, file));
            message.rights.push_back(TRY(context.open_file(seen)));
        }
        context.tree.unix_sockets.at(id).queue.push_back(std::move(message));
    }
    return {};
}

} // namespace
} // namespace unix_socket

Result<bool> add_files_in_flight(Context &context) {
    unix_socket::index_open_files(context);
    auto &sockets = context.state<unix_socket::UnixSockets>();
    std::vector<model::ObjRef> unread;
    for (const auto &[id, socket] : context.tree.unix_sockets)
        if (sockets.queue_read.insert(id).second)
            unread.push_back(id);
    for (const model::ObjRef id : unread) {
        const auto &entry = unix_socket::held(context, id);
        TRY_IN(unix_socket::read_queue(context, id, entry), "{}", entry.seen.described());
    }
    return !unread.empty();
}

Kind unix_socket_kind() {
    return {.name = "unix socket",
            .matches = unix_socket::matches,
            .capture = unix_socket::capture,
            .complete = unix_socket::complete,
            .held = true};
}

} // namespace abey::capture
