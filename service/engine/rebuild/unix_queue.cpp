// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What was unread in unix sockets is sent again, by the sender that it came from as far as the receiver can tell.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/short_life.h"
#include "engine/rebuild/unix_names.h"
#include "engine/rebuild/unix_socket.h"

#include <cstring>

#include <sys/time.h>

namespace abey::rebuild {
namespace {

using model::SocketMessage;
using model::SocketState;
using model::UnixSocket;

constexpr size_t most_rights = 253; // SCM_MAX_FD
// For the time of filling: whatever a queue held must fit again, however the kernel accounts for it.
constexpr int large_buffer = 64 << 20;

template <class T> Result<> set_option(int socket, int name, const T &value) {
    if (::setsockopt(socket, SOL_SOCKET, name, &value, sizeof value) < 0)
        return fail(errno, "cannot set option {}", name);
    return {};
}

// Ancillary data for one message; memory for msghdr.
class Ancillary {
  public:
    template <class T> void add(int type, std::span<const T> values) {
        const size_t size = values.size_bytes(), old = data_.size();
        data_.resize(old + CMSG_SPACE(size));
        cmsghdr header = {};
        header.cmsg_len = CMSG_LEN(size);
        header.cmsg_level = SOL_SOCKET;
        header.cmsg_type = type;
        std::memcpy(data_.data() + old, &header, sizeof header);
        std::memcpy(data_.data() + old + CMSG_LEN(0), values.data(), size);
    }
    void put_into(msghdr &header) {
        header.msg_control = data_.empty() ? nullptr : data_.data();
        header.msg_controllen = data_.size();
    }

  private:
    std::vector<char> data_; // malloc aligns it
};

Result<> send_all(int sender, std::string_view data, Ancillary &ancillary, const UnixAddress *to, bool stream) {
    do {
        // sendmsg(2) writes nowhere of this
        // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
        iovec part = {.iov_base = const_cast<char *>(data.data()), .iov_len = data.size()};
        msghdr header = {};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        if (to != nullptr) {
            // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
            header.msg_name = const_cast<sockaddr *>(to->get());
            header.msg_namelen = to->size;
        }
        ancillary.put_into(header);
        const ssize_t sent = ::sendmsg(sender, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return fail(errno, "cannot put an unread message back");
        if (!stream)
            return {};
        data.remove_prefix(static_cast<size_t>(sent));
        ancillary = Ancillary(); // rights came with the first byte
    } while (!data.empty());
    return {};
}

Result<> send_message(Context &context, int sender, const SocketMessage &message, const UnixAddress *to, bool stream) {
    if (message.rights.size() > most_rights)
        return fail(EBADMSG, "the checkpoint has {} descriptors in one message", message.rights.size());
    std::vector<int> rights;
    rights.reserve(message.rights.size());
    for (const model::ObjRef file : message.rights)
        rights.push_back(TRY(context.open_file(file)));
    const auto attempt = [&](int pid) {
        Ancillary ancillary;
        if (!rights.empty())
            ancillary.add<int>(SCM_RIGHTS, rights);
        const ucred sender_ids = {.pid = pid, .uid = message.sender_uid, .gid = message.sender_gid};
        if (pid != 0)
            ancillary.add<ucred>(SCM_CREDENTIALS, std::span(&sender_ids, 1));
        return send_all(sender, message.data, ancillary, to, stream);
    };
    auto sent = attempt(message.sender_pid);
    if (!sent && message.sender_pid > 0 && sent.error().code() == ESRCH && !context.pids.contains(message.sender_pid)) {
        const auto former = TRY(ShortLife::begin(message.sender_pid)); // it had ended
        if (former.pid() == message.sender_pid)
            sent = attempt(message.sender_pid);
    }
    // another may have its id, or it may live in another pid namespace: then the user at least is right
    if (!sent && message.sender_pid != 0 && (sent.error().code() == ESRCH || sent.error().code() == EPERM))
        sent = attempt(::getpid());
    return sent;
}

// The other end of a connection.
Result<int> connected_sender(const UnixSockets &sockets, const UnixSocket &socket) {
    const auto &own = sockets.made.at(socket.id);
    if (own.other)
        return own.other.get();
    const auto peer = sockets.made.find(socket.peer);
    if (peer == sockets.made.end() || peer->second.number < 0)
        return fail(EBADMSG, "the checkpoint has unread data in a socket that is not connected");
    return peer->second.number;
}

// A datagram socket with this name: one of the tree, or one for the occasion.
Result<int> named_sender(const model::Tree &tree, const UnixSockets &sockets, const std::string &name, Fd &temporary) {
    if (!name.empty())
        for (const auto &[id, socket] : tree.unix_sockets)
            if (socket.type == SOCK_DGRAM && socket.name == name)
                return sockets.made.at(id).number;
    temporary = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!temporary)
        return fail(errno, "cannot make a unix socket");
    TRY(set_option(temporary.get(), SO_SNDBUFFORCE, large_buffer));
    if (!name.empty())
        if (auto bound = run_aside(true, [&] { return bind_aside(temporary, name); }); !bound) {
            // an abstract name may be taken by the sender, who lives on outside; then it comes from nobody
            if (bound.error().code() != EADDRINUSE)
                return std::unexpected(std::move(bound).error());
        }
    return temporary.get();
}

bool is_socketpair(const UnixSockets &sockets, const model::Tree &tree, const UnixSocket &socket) {
    if (socket.type != SOCK_DGRAM)
        return true;
    if (!socket.name.empty())
        return false;
    const auto peer = tree.unix_sockets.find(socket.peer);
    return sockets.made.at(socket.id).other ||
           (peer != tree.unix_sockets.end() && peer->second.name.empty() && peer->second.peer == socket.id);
}

Result<> fill_queue(Context &context, const UnixSockets &sockets, const UnixSocket &socket) {
    if (socket.queue.empty() || sockets.made.at(socket.id).anew)
        return {};
    const bool stream = socket.type == SOCK_STREAM;
    if (is_socketpair(sockets, context.tree, socket)) {
        const int sender = TRY(connected_sender(sockets, socket));
        TRY(set_option(sender, SO_SNDBUFFORCE, large_buffer));
        for (const auto &message : socket.queue)
            TRY(send_message(context, sender, message, nullptr, stream));
        return {};
    }
    if (socket.name.empty())
        return fail(EBADMSG, "the checkpoint has unread datagrams in a socket that nobody can have reached");
    const auto address = TRY(way_to(sockets, socket));
    for (const auto &message : socket.queue) {
        Fd temporary;
        const int sender = TRY(named_sender(context.tree, sockets, message.source, temporary));
        TRY(set_option(sender, SO_SNDBUFFORCE, large_buffer));
        TRY(send_message(context, sender, message, &address, false));
    }
    return {};
}

Result<> restore_options(int file, const model::SocketOptions &options) {
    const auto time = [](uint64_t microseconds) {
        return timeval{.tv_sec = static_cast<time_t>(microseconds / 1'000'000U),
                       .tv_usec = static_cast<suseconds_t>(microseconds % 1'000'000U)};
    };
    // told doubled, asked for single
    TRY(set_option(file, SO_SNDBUFFORCE, static_cast<int>(options.send_buffer / 2)));
    TRY(set_option(file, SO_RCVBUFFORCE, static_cast<int>(options.receive_buffer / 2)));
    if (options.pass_credentials)
        TRY(set_option(file, SO_PASSCRED, 1));
    if (options.pass_security)
        TRY(set_option(file, SO_PASSSEC, 1));
    if (options.peek_offset >= 0)
        TRY(set_option(file, SO_PEEK_OFF, options.peek_offset));
    if (options.linger)
        TRY(set_option(file, SO_LINGER, linger{.l_onoff = 1, .l_linger = options.linger_seconds}));
    if (options.receive_timeout_us != 0)
        TRY(set_option(file, SO_RCVTIMEO, time(options.receive_timeout_us)));
    if (options.send_timeout_us != 0)
        TRY(set_option(file, SO_SNDTIMEO, time(options.send_timeout_us)));
    if (options.priority != 0)
        TRY(set_option(file, SO_PRIORITY, options.priority));
    if (options.low_water != 1)
        TRY(set_option(file, SO_RCVLOWAT, options.low_water));
    return {};
}

Result<> connect_datagrams(const UnixSockets &sockets, const model::Tree &tree, const UnixSocket &socket) {
    if (socket.type != SOCK_DGRAM || socket.state != SocketState::connected || is_socketpair(sockets, tree, socket))
        return {};
    const UnixSocket *peer = socket.peer == 0 ? nullptr : TRY(find(tree.unix_sockets, socket.peer));
    const std::string &name = peer == nullptr ? socket.peer_name : peer->name;
    if (name.empty())
        return {};
    const auto address = TRY(peer == nullptr ? to_address(name) : way_to(sockets, *peer));
    const bool connected = ::connect(sockets.made.at(socket.id).number, address.get(), address.size) == 0;
    // outside the tree nobody may be there: then sending fails, as it does when a peer has gone
    if (!connected && socket.peer != 0)
        return fail(errno, "cannot connect to {} again", name.c_str());
    return {};
}

Result<> finish_one(const UnixSockets &sockets, const model::Tree &tree, const UnixSocket &socket) {
    TRY(connect_datagrams(sockets, tree, socket));
    const int file = sockets.made.at(socket.id).number;
    const bool alone = socket.state != SocketState::connected || sockets.made.at(socket.id).other;
    if (!alone && socket.read_shut && ::shutdown(file, SHUT_RD) < 0)
        return fail(errno, "cannot shut it down for reading");
    if (!alone && socket.write_shut && ::shutdown(file, SHUT_WR) < 0)
        return fail(errno, "cannot shut it down for writing");
    return restore_options(file, socket.options);
}

} // namespace

Result<> fill_unix_sockets(Context &context) {
    auto &sockets = context.state<UnixSockets>();
    const auto &all = context.tree.unix_sockets;
    for (const auto &[id, socket] : all)
        if (const auto made = sockets.made.find(id); made == sockets.made.end() || made->second.number < 0)
            return fail(EBADMSG, "the checkpoint has a unix socket without an open file");
    for (const auto &[id, socket] : all)
        TRY_IN(fill_queue(context, sockets, socket), "{}", described(socket));
    for (const auto &[id, socket] : all)
        TRY_IN(finish_one(sockets, context.tree, socket), "{}", described(socket));
    sockets.made.clear(); // what no process of the tree has closes here
    return {};
}

} // namespace abey::rebuild
