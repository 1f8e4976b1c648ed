// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/socket_queue.h"

#include "engine/os/kernel.h"
#include "engine/os/mapped.h"

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace abey::capture {
namespace {

// More than net.core.wmem_max of any sane system; a queue over it is refused.
constexpr size_t largest_message = size_t{16} << 20U;
constexpr size_t most_rights = 253; // SCM_MAX_FD

// Sets SO_PEEK_OFF, and back what it was.
class PeekOffset {
  public:
    explicit PeekOffset(int socket) : socket_(socket) {}
    PeekOffset(const PeekOffset &) = delete;
    PeekOffset &operator=(const PeekOffset &) = delete;
    ~PeekOffset() {
        if (saved_)
            static_cast<void>(set(*saved_));
    }
    Result<> save() {
        int value = -1;
        socklen_t size = sizeof value;
        if (::getsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &value, &size) < 0)
            return fail(errno, "cannot ask for the socket's peek offset");
        saved_ = value;
        return {};
    }
    [[nodiscard]] Result<> set(int value) const {
        if (::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof value) < 0)
            return fail(errno, "cannot set the socket's peek offset");
        return {};
    }

  private:
    int socket_;
    std::optional<int> saved_;
};

// Takes descriptors and credentials out of the ancillary data.
void take_ancillary(msghdr &header, QueuedMessage &message) {
    for (cmsghdr *part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET)
            continue;
        const auto *data = CMSG_DATA(part);
        const size_t size = part->cmsg_len - CMSG_LEN(0);
        if (part->cmsg_type == SCM_RIGHTS)
            for (size_t i = 0; i + sizeof(int) <= size; i += sizeof(int)) {
                int fd = -1;
                std::memcpy(&fd, data + i, sizeof fd);
                message.rights.emplace_back(fd);
            }
        if (part->cmsg_type == kernel::scm_pidfd && size >= sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, data, sizeof fd);
            const Fd unused(fd);
        }
        if (part->cmsg_type == SCM_CREDENTIALS && size >= sizeof(ucred)) {
            ucred sender = {};
            std::memcpy(&sender, data, sizeof sender);
            message.sender_pid = sender.pid;
            message.sender_uid = sender.uid;
            message.sender_gid = sender.gid;
        }
    }
}

// One peek from where the offset stands; nothing when the queue ends there.
Result<std::optional<QueuedMessage>> peek(int socket, std::span<char> buffer, bool whole) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(most_rights * sizeof(int)) + CMSG_SPACE(sizeof(ucred)) + 256> control =
        {};
    sockaddr_un from = {};
    iovec part = {.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr header = {};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t size = ::recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0 && (errno == EAGAIN || errno == ENOTCONN || errno == EINVAL))
        return std::nullopt; // empty; EINVAL: a stream that is not connected
    if (size < 0)
        return fail(errno, "cannot look at what is unread in the socket");
    QueuedMessage message;
    take_ancillary(header, message);
    if ((header.msg_flags & MSG_CTRUNC) != 0)
        return fail(
            0, "descriptors on their way through the socket do not fit into the worker; raise its limit of open files");
    if (whole && (header.msg_flags & MSG_TRUNC) != 0)
        return fail(EMSGSIZE, "an unread message in the socket is longer than {} bytes", buffer.size());
    message.data.assign(buffer.data(), static_cast<size_t>(size));
    if (header.msg_namelen > offsetof(sockaddr_un, sun_path)) {
        message.source.assign(from.sun_path, header.msg_namelen - offsetof(sockaddr_un, sun_path));
        if (message.source.front() != '\0')
            message.source.resize(std::min(message.source.find('\0'), message.source.size()));
    }
    return message;
}

// Memory of which the last byte is followed by a page that cannot be written.
class GuardedBuffer {
  public:
    explicit GuardedBuffer(size_t size)
        : memory_((size + page - 1) / page * page + page, os::read_write, os::ones_own) {
        if (memory_)
            ::mprotect(end() - page, page, PROT_NONE);
    }
    explicit operator bool() const { return static_cast<bool>(memory_); }
    // Its last `size` bytes.
    [[nodiscard]] char *tail(size_t size) const { return end() - page - size; }

  private:
    static constexpr size_t page = 4096;
    [[nodiscard]] char *end() const { return static_cast<char *>(memory_.at()) + memory_.size(); }
    os::Mapped memory_;
};

// Where in a stretch of a stream, `size` bytes long, begins the last of the messages that it was sent in: the one with
// the descriptors. The kernel copies message by message, and stops before the one that it cannot copy whole; so a
// buffer that cannot be written at its last byte is filled just up to there.
Result<size_t> start_of_last_message(int socket, const PeekOffset &offset, size_t start, size_t size) {
    const GuardedBuffer buffer(size);
    if (!buffer)
        return fail(errno, "cannot get memory for what is unread in the socket");
    TRY(offset.set(static_cast<int>(start)));
    iovec part = {.iov_base = buffer.tail(size - 1), .iov_len = size};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    const ssize_t copied = ::recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT);
    if (copied < 0 && errno == EFAULT)
        return 0;
    if (copied < 0 || static_cast<size_t>(copied) >= size)
        return fail(copied < 0 ? errno : EPROTO, "cannot tell which byte the descriptors in the socket came with");
    return static_cast<size_t>(copied);
}

Result<std::vector<QueuedMessage>> peek_stream(int socket, const PeekOffset &offset) {
    int unread = 0;
    if (::ioctl(socket, SIOCINQ, &unread) < 0)
        return fail(errno, "cannot ask how much is unread in the socket");
    if (static_cast<size_t>(unread) > largest_message)
        return fail(EMSGSIZE, "{} bytes are unread in the socket", unread);
    const auto total = static_cast<size_t>(unread);
    std::vector<QueuedMessage> messages;
    std::vector<char> buffer(total);
    for (size_t position = 0; position < total;) {
        TRY(offset.set(static_cast<int>(position)));
        auto message = TRY(peek(socket, std::span(buffer).first(total - position), false));
        if (!message || message->data.empty())
            return fail(0, "out-of-band data in a unix socket cannot be brought back");
        const size_t size = message->data.size();
        size_t before = 0;
        if (!message->rights.empty())
            before = TRY(start_of_last_message(socket, offset, position, size));
        if (before > 0) {
            QueuedMessage plain;
            plain.data = message->data.substr(0, before);
            plain.sender_pid = message->sender_pid;
            plain.sender_uid = message->sender_uid;
            plain.sender_gid = message->sender_gid;
            messages.push_back(std::move(plain));
            message->data.erase(0, before);
        }
        messages.push_back(std::move(*message));
        position += size;
    }
    return messages;
}

Result<std::vector<QueuedMessage>> peek_messages(int socket, int type, const PeekOffset &offset) {
    TRY(offset.set(0));
    // Once the peer of a seqpacket socket has closed, an empty queue reads like an empty message, without end: then the
    // number of bytes tells when all have been seen (of a datagram socket it tells only the first message's).
    pollfd ask = {.fd = socket, .events = POLLRDHUP, .revents = 0};
    const bool ends = type == SOCK_SEQPACKET && ::poll(&ask, 1, 0) == 1;
    int unread = 0;
    if (::ioctl(socket, SIOCINQ, &unread) < 0)
        return fail(errno, "cannot ask how much is unread in the socket");
    std::vector<QueuedMessage> messages;
    // not touched beyond the longest message, so it costs no memory
    const auto buffer = std::make_unique_for_overwrite<char[]>(largest_message);
    for (size_t seen = 0; !ends || seen < static_cast<size_t>(unread);) {
        auto message = TRY(peek(socket, std::span(buffer.get(), largest_message), true));
        if (!message)
            break;
        seen += message->data.size();
        messages.push_back(std::move(*message));
    }
    return messages;
}

} // namespace

Result<std::vector<QueuedMessage>> peek_queue(const Fd &socket, int type) {
    PeekOffset offset(socket.get());
    TRY(offset.save());
    return type == SOCK_STREAM ? peek_stream(socket.get(), offset) : peek_messages(socket.get(), type, offset);
}

} // namespace abey::capture
