// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/server.h"

#include "session/connection.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

namespace abey::session {
namespace {

class ServerTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "abey-server-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
        sd_event *event = nullptr;
        ASSERT_GE(sd_event_new(&event), 0);
        event_.reset(event);
        mask_ = ::umask(077); // as of the keeper's unit
        socket_.emplace(ListeningSocket::make(path(), ::getuid()).value());
        server_ =
            Server::make(event, socket_->take(), ::getuid(), [this](pid_t client) { came_.push_back(client); }).value();
        server_->open();
    }

    void TearDown() override {
        server_.reset();
        socket_.reset();
        ::umask(mask_);
        std::filesystem::remove_all(directory_);
    }

    [[nodiscard]] std::string path() const { return directory_ + "/sessions/7.sock"; }

    // A terminal whose programs we are: what we write to the slave they show.
    Fd add_terminal(uint32_t index) {
        int master = -1;
        int slave = -1;
        termios raw = {};
        ::cfmakeraw(&raw);
        const winsize size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
        EXPECT_EQ(::openpty(&master, &slave, nullptr, &raw, &size), 0);
        ::fcntl(slave, F_SETFL, O_NONBLOCK);
        EXPECT_TRUE(server_->add({.index = index, .old_index = index + 100, .fd = Fd(master)}));
        return Fd(slave);
    }

    [[nodiscard]] Fd connect() const {
        sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
        const std::string name = path();
        std::ranges::copy(name, address.sun_path);
        Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        EXPECT_TRUE(socket &&
                    ::connect(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) == 0);
        return socket;
    }

    static void say(const Fd &client, const ClientMessage &message) {
        EXPECT_TRUE(send_packet(client, encode(message)));
    }

    // Lets the server work until `done`, for a minute at most.
    bool until(const std::function<bool()> &done) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!done()) {
            if (std::chrono::steady_clock::now() > end)
                return false;
            sd_event_run(event_.get(), 5'000);
        }
        return true;
    }

    // The next message; nothing: the connection has ended.
    std::optional<KeeperMessage> hear(const Fd &client) {
        Result<std::string> packet = "";
        EXPECT_TRUE(until([&] {
            packet = receive_packet(client, MSG_DONTWAIT);
            return packet || packet.error().code() != EAGAIN;
        }));
        if (!packet || packet->empty())
            return std::nullopt;
        return parse_keeper_message(*packet).value();
    }

    std::string hear_end(const Fd &client) {
        while (auto message = hear(client)) {
            if (const auto *ended = std::get_if<Ended>(&*message))
                return ended->why;
        }
        return "no message";
    }

    // Output until `text` is in it.
    std::string hear_output(const Fd &client, std::string_view text) {
        std::string shown;
        while (!shown.contains(text)) {
            auto message = hear(client);
            if (!message || !std::holds_alternative<Output>(*message))
                break;
            shown += std::get<Output>(*message).data;
        }
        return shown;
    }

    Fd attached(uint32_t terminal = any_terminal, WindowSize size = {24, 80}) {
        Fd client = connect();
        say(client, Attach{.terminal = terminal, .size = size});
        EXPECT_EQ(std::get<Attached>(hear(client).value()).terminal, terminal == any_terminal ? 3 : terminal);
        picture_ = std::get<Output>(hear(client).value()).data; // of a screen of this size it is one packet
        return client;
    }

    // Writes it all, however long that takes the server.
    void show(const Fd &slave, std::string_view text) {
        EXPECT_TRUE(until([&] {
            const ssize_t n = ::write(slave.get(), text.data(), text.size());
            text.remove_prefix(n > 0 ? static_cast<size_t>(n) : 0);
            return text.empty();
        }));
    }

    // Until the server has read what was shown, with nobody attached: it answers a question that comes after it.
    // The terminal may hold it back for as long as the kernel's workers have something better to do.
    void taken(const Fd &slave) {
        show(slave, "\x1b[5n");
        std::string answer;
        EXPECT_TRUE(until([&] {
            std::array<char, 16> buffer = {};
            if (const ssize_t n = ::read(slave.get(), buffer.data(), buffer.size()); n > 0)
                answer.append(buffer.data(), static_cast<size_t>(n));
            return answer == "\x1b[0n";
        }));
    }

    // Until the server has nothing more to do.
    void settle() {
        for (int idle = 0; idle < 3;)
            idle = sd_event_run(event_.get(), 20'000) > 0 ? 0 : idle + 1;
    }

    std::vector<pid_t> came_; // processes of the owner's that have attached
    std::string picture_;     // that the client which attached last was shown first
    std::string directory_;
    mode_t mask_ = 0;
    Event event_;
    std::optional<ListeningSocket> socket_;
    std::unique_ptr<Server> server_;
};

winsize size_of(const Fd &slave) {
    winsize size = {};
    ::ioctl(slave.get(), TIOCGWINSZ, &size);
    return size;
}

TEST_F(ServerTest, SocketIsItsOwnersAndGoesWithTheServer) {
    struct stat st = {};
    ASSERT_EQ(::lstat(path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFSOCK | 0600U);
    EXPECT_EQ(st.st_uid, ::getuid());
    ASSERT_EQ(::lstat((directory_ + "/sessions").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode, S_IFDIR | 0755U); // for others to find theirs
    server_.reset();
    socket_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/sessions"));
}

TEST_F(ServerTest, JoinsBothWays) {
    const Fd slave = add_terminal(3);
    show(slave, "before\n");
    taken(slave);
    const Fd client = attached();
    EXPECT_TRUE(picture_.contains("before"));
    show(slave, "after\n");
    EXPECT_EQ(hear_output(client, "after\n"), "after\n");
    say(client, Input{"typed"});
    std::array<char, 16> typed = {};
    EXPECT_TRUE(until([&] { return ::read(slave.get(), typed.data(), typed.size()) > 0; }));
    EXPECT_STREQ(typed.data(), "typed");
}

TEST_F(ServerTest, TerminalGetsTheClientsSizeByWayOfAnother) {
    const Fd slave = add_terminal(3);
    const Fd client = attached(any_terminal, {30, 100});
    EXPECT_TRUE(until([&] { return size_of(slave).ws_row == 29 && size_of(slave).ws_col == 100; }));
    EXPECT_TRUE(until([&] { return size_of(slave).ws_row == 30; }));
    say(client, Resize{{40, 90}});
    EXPECT_TRUE(until([&] { return size_of(slave).ws_row == 40 && size_of(slave).ws_col == 90; }));
    say(client, Resize{{0, 0}});
    say(client, List());
    EXPECT_EQ(std::get<Terminals>(hear(client).value()).entries.at(0).size, (WindowSize{40, 90}));
}

// Some programs miss a change of size while they draw.
TEST_F(ServerTest, SizeComesWhenTheProgramHasDrawn) {
    const Fd slave = add_terminal(3);
    const Fd client = attached();
    const auto draw = [&](std::chrono::milliseconds how_long) {
        const auto end = std::chrono::steady_clock::now() + how_long;
        while (std::chrono::steady_clock::now() < end) {
            show(slave, "x");
            (void)hear_output(client, "x");
        }
    };
    const auto wait = [&](std::chrono::milliseconds how_long) {
        const auto end = std::chrono::steady_clock::now() + how_long;
        (void)until([&] { return std::chrono::steady_clock::now() >= end; });
    };
    EXPECT_EQ(size_of(slave).ws_row, 23);
    wait(std::chrono::milliseconds(300)); // it begins late, and then makes pauses
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(size_of(slave).ws_row, 23);
        draw(std::chrono::milliseconds(60));
        wait(std::chrono::milliseconds(140));
    }
    EXPECT_TRUE(until([&] { return size_of(slave).ws_row == 24; }));

    const Fd other = attached();
    EXPECT_EQ(size_of(slave).ws_row, 23);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (size_of(slave).ws_row != 24 && std::chrono::steady_clock::now() < end) {
        show(slave, "y"); // one that never ends to draw
        (void)hear_output(other, "y");
    }
    EXPECT_EQ(size_of(slave).ws_row, 24);
}

TEST_F(ServerTest, ListsTerminalsInOrder) {
    const Fd second = add_terminal(9);
    const Fd first = add_terminal(3);
    const Fd watching = attached(9);
    const Fd client = connect();
    say(client, List());
    const Terminals expected = {{{.index = 3, .old_index = 103, .size = {24, 80}, .attached = false},
                                 {.index = 9, .old_index = 109, .size = {24, 80}, .attached = true}}};
    EXPECT_EQ(std::get<Terminals>(hear(client).value()), expected);
    say(client, Attach());
    EXPECT_EQ(std::get<Attached>(hear(client).value()).terminal, 3U); // nobody is there yet
}

TEST_F(ServerTest, TellsWhichProcessesAttach) {
    const Fd slave = add_terminal(3);
    const Fd looking = connect();
    say(looking, List());
    hear(looking);
    const Fd watching = connect();
    say(watching, Watch{});
    hear(watching);
    EXPECT_TRUE(came_.empty()) << "to list and to watch is not to attach";
    const Fd client = attached();
    EXPECT_EQ(came_, std::vector<pid_t>{::getpid()});
}

TEST_F(ServerTest, ProgramsNeverWaitForAReader) {
    const Fd slave = add_terminal(3);
    show(slave, std::string(4U << 20U, 'x') + "\nlast\n");
    taken(slave);
    const Fd client = attached();
    EXPECT_TRUE(picture_.contains("last"));
}

TEST_F(ServerTest, ProgramsThatAskAreAnsweredWhileNobodyIsAttached) {
    const Fd slave = add_terminal(3);
    show(slave, "ab\x1b[6n");
    std::array<char, 16> answer = {};
    EXPECT_TRUE(until([&] { return ::read(slave.get(), answer.data(), answer.size()) > 0; }));
    EXPECT_STREQ(answer.data(), "\x1b[1;3R");
    const Fd client = attached();
    show(slave, "\x1b[6n");
    hear_output(client, "\x1b[6n"); // for the client's terminal to answer
    settle();
    EXPECT_LT(::read(slave.get(), answer.data(), answer.size()), 0);
}

TEST_F(ServerTest, SlowClientLosesOutputAndBeginsAnew) {
    const Fd slave = add_terminal(3);
    const Fd client = attached();
    show(slave, std::string(8U << 20U, 'x') + "\nlast\n");
    settle();
    const std::string shown = hear_output(client, "last");
    // The whole screen, drawn anew.
    EXPECT_TRUE(shown.substr(shown.rfind("\x1b[2J")).contains("xxxx"));
    EXPECT_LT(shown.size(), 2U << 20U);
    EXPECT_GT(shown.size(), 64U << 10U);
}

TEST_F(ServerTest, InputThatNobodyReadsIsHeldBack) {
    const Fd slave = add_terminal(3);
    const Fd client = attached();
    const std::string packet = encode(ClientMessage(Input{std::string(data_limit, 'y')}));
    size_t sent = 0;
    // Until the socket is full and the server takes nothing more.
    for (int idle = 0; idle < 20 && sent < 64U << 20U;) {
        if (::send(client.get(), packet.data(), packet.size(), MSG_DONTWAIT) > 0) {
            sent += data_limit;
            idle = 0;
        } else {
            ++idle;
            sd_event_run(event_.get(), 2'000);
        }
    }
    EXPECT_LT(sent, 2U << 20U);
    // Nothing of it is lost.
    size_t read = 0;
    EXPECT_TRUE(until([&] {
        std::array<char, 4096> buffer = {};
        for (ssize_t n = 0; (n = ::read(slave.get(), buffer.data(), buffer.size())) > 0;)
            read += static_cast<size_t>(n);
        return read >= sent;
    }));
    EXPECT_EQ(read, sent);
}

TEST_F(ServerTest, LatestClientTakesOver) {
    const Fd slave = add_terminal(3);
    const Fd first = attached();
    const Fd second = attached();
    EXPECT_EQ(hear_end(first), "attached from elsewhere");
    show(slave, "x");
    EXPECT_EQ(hear_output(second, "x"), "x");
}

TEST_F(ServerTest, WatchersSeeAndSayNothing) {
    const Fd slave = add_terminal(3);
    const Fd unused = add_terminal(2);
    const Fd user = attached(3);
    const Fd watcher = connect();
    say(watcher, Watch()); // the one that is in use, although it is not the lowest
    EXPECT_EQ(std::get<Attached>(hear(watcher).value()).terminal, 3U);
    EXPECT_TRUE(std::holds_alternative<Output>(hear(watcher).value()));
    const Fd early = connect();
    say(early, Watch{2});
    EXPECT_EQ(std::get<Attached>(hear(early).value()).terminal, 2U);

    show(slave, "both of you");
    EXPECT_TRUE(hear_output(user, "both of you").contains("both of you"));
    EXPECT_TRUE(hear_output(watcher, "both of you").contains("both of you"));
    say(user, Resize{{30, 90}});
    EXPECT_TRUE(std::holds_alternative<Output>(hear(watcher).value())); // laid out anew

    const Fd other = connect();
    say(other, Watch{3});
    ASSERT_TRUE(std::holds_alternative<Attached>(hear(other).value()));
    say(other, Input{"typed"});
    EXPECT_EQ(hear_end(other), "protocol error: who watches says nothing");
    settle();
    std::array<char, 16> buffer = {};
    EXPECT_LT(::read(slave.get(), buffer.data(), buffer.size()), 0) << "what a watcher says was typed";
    say(watcher, Detach());
    EXPECT_EQ(hear_end(watcher), "detached");
    say(user, Input{"mine"});
    EXPECT_TRUE(until([&] { return ::read(slave.get(), buffer.data(), buffer.size()) == 4; }));
}

TEST_F(ServerTest, WatchersStayWhenTheUserChanges) {
    const Fd slave = add_terminal(3);
    const Fd watcher = connect();
    say(watcher, Watch{3});
    ASSERT_TRUE(std::holds_alternative<Attached>(hear(watcher).value()));
    {
        const Fd first = attached();
        const Fd second = attached();
        EXPECT_EQ(hear_end(first), "attached from elsewhere");
    }
    settle();
    show(slave, "on and on");
    EXPECT_TRUE(hear_output(watcher, "on and on").contains("on and on"));
    server_->close("over");
    EXPECT_EQ(hear_end(watcher), "over");
}

TEST_F(ServerTest, DetachLeavesTheTerminal) {
    const Fd slave = add_terminal(3);
    {
        const Fd client = attached();
        say(client, Detach());
        EXPECT_EQ(hear_end(client), "detached");
        EXPECT_FALSE(hear(client));
        const Fd gone = attached(); // closes without a word
    }
    EXPECT_TRUE(until([&] { return server_->idle(); }));
    show(slave, "more\n");
    taken(slave);
    const Fd later = attached();
    EXPECT_TRUE(picture_.contains("more"));
}

TEST_F(ServerTest, RefusesWhatIsWrong) {
    const Fd none = connect();
    say(none, Attach());
    EXPECT_EQ(hear_end(none), "the session has no terminal to attach to");
    const Fd slave = add_terminal(3);
    const auto answer_to = [&](const std::string &packet) {
        const Fd client = connect();
        EXPECT_TRUE(send_packet(client, packet));
        return hear_end(client);
    };
    EXPECT_EQ(answer_to(encode(ClientMessage(Attach{.terminal = 4, .size = {}}))), "the session has no terminal pts/4");
    EXPECT_EQ(answer_to(encode(ClientMessage(Input{"x"}))), "protocol error: not attached");
    EXPECT_EQ(answer_to(encode(ClientMessage(Resize()))), "protocol error: not attached");
    EXPECT_EQ(answer_to("\xff"), "protocol error");
    EXPECT_EQ(answer_to(encode(ClientMessage(List())) + "x"), "protocol error");
    EXPECT_EQ(answer_to(std::string(packet_limit + 1, '\x03')), "no message");
    const Fd twice = attached();
    say(twice, Attach());
    EXPECT_EQ(hear_end(twice), "protocol error: attached already");
}

TEST_F(ServerTest, ManyClientsAreTooMany) {
    const Fd slave = add_terminal(3);
    std::vector<Fd> clients;
    for (int i = 0; i < 32; ++i) {
        clients.push_back(connect());
        say(clients.back(), List());
        EXPECT_TRUE(hear(clients.back())) << i;
    }
    const Fd refused = connect();
    EXPECT_FALSE(hear(refused));
    clients.pop_back();
    EXPECT_TRUE(until([&] {
        const Fd again = connect();
        return ::send(again.get(), "\x01", 1, MSG_NOSIGNAL) == 1 && hear(again).has_value();
    }));
}

TEST_F(ServerTest, ClosedTerminalEndsItsClient) {
    Fd slave = add_terminal(3);
    const Fd other = add_terminal(5);
    const Fd client = attached();
    show(slave, "bye\n");
    slave.reset();
    EXPECT_EQ(hear_output(client, "bye\n"), "bye\n");
    EXPECT_EQ(hear_end(client), "the session on this terminal has ended");
    EXPECT_EQ(server_->terminals(), 1U);
}

TEST_F(ServerTest, CloseTellsEveryClient) {
    const Fd slave = add_terminal(3);
    const Fd one = attached();
    const Fd two = connect();
    say(two, List());
    ASSERT_TRUE(hear(two));
    show(slave, "last words\n");
    server_->close("over");
    EXPECT_EQ(hear_output(one, "last words\n"), "last words\n");
    EXPECT_EQ(hear_end(one), "over");
    EXPECT_EQ(hear_end(two), "over");
    EXPECT_TRUE(until([&] { return server_->idle(); }));
    EXPECT_EQ(::write(slave.get(), "x", 1), -1); // hung up
}

} // namespace
} // namespace abey::session
