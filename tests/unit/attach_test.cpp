// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/attach.h"
#include "session/connection.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace abey::session {
namespace {

using namespace std::string_literals;

TEST(DetachKey, DetachesAndDropsTheRest) {
    DetachKey key;
    EXPECT_EQ(key.filter("ls\x1c\x04more"), "ls");
    EXPECT_TRUE(key.detached());
    EXPECT_EQ(key.filter("more"), "");
}

TEST(DetachKey, IsSeenAcrossReads) {
    DetachKey key;
    EXPECT_EQ(key.filter("\x1c"), "");
    EXPECT_FALSE(key.detached());
    EXPECT_EQ(key.filter("\x04"), "");
    EXPECT_TRUE(key.detached());
}

TEST(DetachKey, EverythingElseIsSent) {
    DetachKey key;
    EXPECT_EQ(key.filter("\x04"), "\x04");
    EXPECT_EQ(key.filter("\x1c\x1c"), "\x1c");
    EXPECT_EQ(key.filter("\x04"), "\x04");
    EXPECT_EQ(key.filter("\x1cx"), "\x1cx");
    EXPECT_EQ(key.filter("\x1c\x1c\x1cy"), "\x1c\x1cy");
    EXPECT_EQ(key.filter("a\0b"s), "a\0b"s);
    EXPECT_FALSE(key.detached());
}

TEST(SocketPath, TakesIdsOnly) {
    EXPECT_EQ(socket_path("/run/x", "c12").value(), "/run/x/c12.sock");
    for (const char *id : {"", ".", "..", "../1", "1/2", "1.sock", "1 ", "é"})
        EXPECT_EQ(socket_path("/run/x", id).error().code(), ENOENT) << id;
    EXPECT_FALSE(socket_path("/run/x", std::string(200, '1')));
}

TEST(AttachableSessions, NoneWhereThereIsNoDirectory) {
    EXPECT_EQ(attachable_sessions(1, "/nonexistent/sessions").value(), std::vector<std::string>());
    EXPECT_FALSE(terminals_of("1", "/nonexistent/sessions"));
}

} // namespace
} // namespace abey::session
