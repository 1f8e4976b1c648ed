// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/unix_diag.h"

#include <cstring>

#include <gtest/gtest.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

namespace abey::capture {
namespace {

using Bytes = std::string;

template <class T> void append(Bytes &bytes, const T &value) {
    bytes.append(reinterpret_cast<const char *>(&value), sizeof value);
}

void append_attribute(Bytes &bytes, unsigned short type, std::string_view data) {
    append(bytes, rtattr{.rta_len = static_cast<unsigned short>(sizeof(rtattr) + data.size()), .rta_type = type});
    bytes += data;
    bytes.resize((bytes.size() + 3U) & ~size_t{3});
}

Bytes message(const Bytes &payload, unsigned short type) {
    Bytes bytes;
    append(bytes, nlmsghdr{.nlmsg_len = static_cast<uint32_t>(sizeof(nlmsghdr) + payload.size()), .nlmsg_type = type});
    return bytes + payload;
}

Bytes socket_message() {
    Bytes payload;
    append(payload,
           unix_diag_msg{.udiag_family = AF_UNIX, .udiag_type = SOCK_STREAM, .udiag_state = 10, .udiag_ino = 77});
    append_attribute(payload, UNIX_DIAG_NAME, std::string_view("/run/x", 6));
    append_attribute(payload, UNIX_DIAG_ICONS, std::string_view("\x01\0\0\0\x02\0\0\0", 8));
    append_attribute(payload, UNIX_DIAG_RQLEN, std::string_view("\x02\0\0\0\x80\0\0\0", 8));
    append_attribute(payload, UNIX_DIAG_SHUTDOWN, std::string_view("\x02", 1));
    return message(payload, SOCK_DIAG_BY_FAMILY);
}

Result<bool> parse(const Bytes &datagram, UnixDiags &diags) {
    return parse_unix_diag(std::as_bytes(std::span(datagram)), diags);
}

TEST(UnixDiag, ParsesAttributes) {
    UnixDiags diags;
    const auto done = parse(socket_message(), diags);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_FALSE(*done);
    ASSERT_TRUE(diags.contains(77));
    const auto &diag = diags[77];
    EXPECT_EQ(diag.name, "/run/x");
    EXPECT_EQ(diag.pending, (std::vector<uint32_t>{1, 2}));
    EXPECT_EQ(diag.write_queue, 128U);
    EXPECT_EQ(diag.shutdown, 2U);
    EXPECT_FALSE(diag.peer);
}

TEST(UnixDiag, SeesTheEndAndErrors) {
    UnixDiags diags;
    Bytes end;
    append(end, 0);
    EXPECT_TRUE(parse(message(end, NLMSG_DONE), diags).value());
    Bytes error;
    append(error, -EPERM);
    const auto refused = parse(message(error, NLMSG_ERROR), diags);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EPERM);
}

TEST(UnixDiag, RefusesWhatIsCutOff) {
    const Bytes whole = socket_message();
    UnixDiags diags;
    for (size_t size = sizeof(nlmsghdr); size < whole.size(); ++size)
        EXPECT_FALSE(parse(whole.substr(0, size), diags)) << size;
}

TEST(UnixDiag, FindsASocketOfOurs) {
    int ends[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    const Fd a(ends[0]), b(ends[1]);
    const auto diags = dump_unix_sockets();
    ASSERT_TRUE(diags) << diags.error().message();
    const auto number = [](const Fd &fd) { return static_cast<uint32_t>(stat_of(fd)->st_ino); };
    ASSERT_TRUE(diags->contains(number(a)));
    EXPECT_EQ(diags->at(number(a)).peer, number(b));
    EXPECT_EQ(diags->at(number(a)).type, SOCK_SEQPACKET);
}

} // namespace
} // namespace abey::capture
