// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/message.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace abey::session {

using nlohmann::json;

bool send_message(const Fd &channel, const json &message, int fd) {
    std::string text = message.dump(-1, ' ', false, json::error_handler_t::replace);
    iovec part = {.iov_base = text.data(), .iov_len = text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (fd >= 0) {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    ssize_t n = 0;
    do {
        n = ::sendmsg(channel.get(), &header, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n == static_cast<ssize_t>(text.size());
}

Result<Message> receive_message(const Fd &channel, size_t limit) {
    std::string text(limit, '\0');
    iovec part = {.iov_base = text.data(), .iov_len = text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ssize_t n = 0;
    do {
        n = ::recvmsg(channel.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return Message();
    if (n < 0)
        return fail(errno, "cannot be heard");
    Message message;
    for (cmsghdr *part_of = CMSG_FIRSTHDR(&header); part_of != nullptr; part_of = CMSG_NXTHDR(&header, part_of)) {
        int fd = -1;
        if (part_of->cmsg_level == SOL_SOCKET && part_of->cmsg_type == SCM_RIGHTS &&
            part_of->cmsg_len == CMSG_LEN(sizeof fd)) {
            std::memcpy(&fd, CMSG_DATA(part_of), sizeof fd);
            message.fd = Fd(fd);
        }
    }
    if (n == 0)
        return message;
    text.resize(static_cast<size_t>(n));
    message.body = json::parse(text, nullptr, false);
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || !message.body.is_object())
        return fail(EBADMSG, "cannot be read");
    return message;
}

} // namespace abey::session
