// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/attach.h"
#include "session/connection.h"
#include "session/own_terminal.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

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

TEST(DetachKey, MayBeAnyKeys) {
    DetachKey screen("\x01"
                     "d");
    EXPECT_EQ(screen.filter("\x1c\x04\x01\x01"
                            "d"),
              "\x1c\x04\x01"
              "d");
    EXPECT_EQ(screen.filter("\x01x\x01"), "\x01x");
    EXPECT_EQ(screen.filter("dd"), "");
    EXPECT_TRUE(screen.detached());

    DetachKey one("\x1d");
    EXPECT_EQ(one.filter("ab\x1d"
                         "c"),
              "ab");
    EXPECT_TRUE(one.detached());

    DetachKey same("aab");
    EXPECT_EQ(same.filter("aaaxaab"), "aaax") << "the end of what did not match may be a beginning";
    EXPECT_TRUE(same.detached());
}

TEST(DetachKey, IsReadAndToldInWords) {
    EXPECT_EQ(parse_detach_key("ctrl-\\,ctrl-d").value(), default_detach_key);
    EXPECT_EQ(in_words(default_detach_key), "Ctrl-\\ Ctrl-D");
    EXPECT_EQ(parse_detach_key("Ctrl-A,d").value(), "\x01"
                                                    "d");
    EXPECT_EQ(in_words("\x01"
                       "d"),
              "Ctrl-A d");
    EXPECT_EQ(parse_detach_key("ctrl-]").value(), "\x1d");
    EXPECT_EQ(parse_detach_key("~,.").value(), "~.");
    for (const char *text : {"", ",", "a,", "ctrl-", "ctrl-1", "f1", "a,b,c,d,e", "\x01", " ", "\u00e9"})
        EXPECT_FALSE(parse_detach_key(text)) << text;
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

TEST(OwnTerminal, IsThatOfTheDeviceNumber) {
    EXPECT_EQ(pts_number(makedev(136, 0)), 0U);
    EXPECT_EQ(pts_number(makedev(137, 3)), 259U);
    EXPECT_EQ(pts_number(makedev(143, 255)), 2047U);
    EXPECT_FALSE(pts_number(makedev(4, 1))) << "a virtual console";
    EXPECT_FALSE(pts_number(makedev(144, 0)));
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    EXPECT_FALSE(terminal_behind(ends[0]));
    ::close(ends[0]);
    ::close(ends[1]);
    const Fd master(::posix_openpt(O_RDWR | O_NOCTTY));
    ASSERT_TRUE(master);
    ASSERT_EQ(::unlockpt(master.get()), 0);
    const Fd slave(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY)); // NOLINT(concurrency-mt-unsafe)
    ASSERT_TRUE(slave);
    EXPECT_EQ(fmt::format("/dev/pts/{}", terminal_behind(slave.get()).value_or(~0U)),
              ::ptsname(master.get())); // NOLINT(concurrency-mt-unsafe)
}

TEST(Connection, DoesNotWaitForAKeeperThatTakesNone) {
    std::string directory = "/tmp/abeyance-busy-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    const auto path = directory + "/7.sock";
    EXPECT_TRUE(is_nobodys(connect_at_once(path).error().code()));
    EXPECT_EQ(owner_of("7", directory).error().code(), ENOENT);
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::ranges::copy(path, address.sun_path);
    const Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(socket.get(), 1), 0);
    EXPECT_EQ(owner_of("7", directory).value(), ::geteuid());
    std::vector<Fd> connections;
    auto one = connect_at_once(path);
    ASSERT_TRUE(one) << one.error().message();
    EXPECT_EQ(::fcntl(one->get(), F_GETFL) & O_NONBLOCK, 0) << "whoever gets it may wait";
    while (one && connections.size() < 100) {
        connections.push_back(std::move(*one));
        one = connect_at_once(path);
    }
    ASSERT_FALSE(one);
    EXPECT_EQ(one.error().code(), EAGAIN);
    std::filesystem::remove_all(directory);
}

TEST(AttachableSessions, NotThoseWhoseKeeperHasGone) {
    std::string directory = "/tmp/abeyance-attach-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    const auto listen_at = [&](const char *name) {
        sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
        std::ranges::copy(directory + "/" + name, address.sun_path);
        Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(socket.get(), 5), 0);
        return socket;
    };
    const Fd alive = listen_at("7.sock");
    listen_at("8.sock"); // closed at once, as by a kill
    const Fd not_one = listen_at("no-session.sock");
    EXPECT_EQ(attachable_sessions(::getuid(), directory).value(), std::vector<std::string>({"7"}));
    std::filesystem::remove_all(directory);
}

// All that comes to `terminal` until there is a bell, with which the title ends.
void read_title(const Fd &terminal) {
    for (char c = 0; c != '\a';)
        ASSERT_EQ(::read(terminal.get(), &c, 1), 1);
}

TEST(Attach, WhatIsTypedBeforeTheDetachKeyIsSent) {
    std::string directory = "/tmp/abeyance-attach-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::ranges::copy(directory + "/7.sock", address.sun_path);
    const Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(socket.get(), 5), 0);
    const Fd user(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_EQ(::grantpt(user.get()), 0);
    ASSERT_EQ(::unlockpt(user.get()), 0);
    const Fd terminal(::open(::ptsname(user.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(terminal);

    std::string typed;
    std::thread keeper([&] {
        const Fd client(::accept(socket.get(), nullptr, nullptr));
        ASSERT_TRUE(receive_packet(client));
        ASSERT_TRUE(send_packet(client, encode(KeeperMessage(Attached{.terminal = 3}))));
        read_title(user);
        constexpr std::string_view keys = "ls\n\x1c\x04";
        ASSERT_EQ(::write(user.get(), keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
        for (auto packet = receive_packet(client); packet && !packet->empty(); packet = receive_packet(client))
            if (const auto message = parse_client_message(*packet); message && std::holds_alternative<Input>(*message))
                typed += std::get<Input>(*message).data;
    });
    const auto why =
        attach({.session = "7", .directory = directory, .input = terminal.get(), .output = terminal.get()});
    keeper.join();
    ASSERT_TRUE(why) << why.error().message();
    EXPECT_EQ(*why, "detached");
    EXPECT_EQ(typed, "ls\n");
    std::filesystem::remove_all(directory);
}

} // namespace
} // namespace abey::session
