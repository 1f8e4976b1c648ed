// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/terminal_host.h"

#include "session/attach.h"
#include "session/pictures.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

namespace abey::session {
namespace {

class TerminalHostTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "abey-host-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
        ASSERT_EQ(::chmod(name.c_str(), 0755), 0);
        // As root: somebody else than we are, as in a session.
        owner_ = ::getuid() == 0 ? 65534 : ::getuid();
        group_ = ::getuid() == 0 ? 65534 : ::getgid();
        auto socket = ListeningSocket::make(directory_ + "/7.sock", owner_);
        ASSERT_TRUE(socket) << socket.error().message();
        auto logins = LoginList::make("7", "c1", directory_ + "/logins");
        ASSERT_TRUE(logins) << logins.error().message();
        auto host = TerminalHost::start(std::move(*socket), std::move(*logins), owner_, group_);
        ASSERT_TRUE(host) << host.error().message();
        host_.emplace(std::move(*host));
    }
    void TearDown() override {
        host_.reset();
        while (::waitpid(-1, nullptr, 0) > 0) {
        }
        std::filesystem::remove_all(directory_);
    }

    Fd add_terminal(uint32_t index, std::string picture = "") {
        int master = -1;
        int slave = -1;
        const winsize size = {.ws_row = rows_, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
        EXPECT_EQ(::openpty(&master, &slave, nullptr, nullptr, &size), 0);
        EXPECT_TRUE(host_->add({.index = index, .old_index = index, .fd = Fd(master), .picture = std::move(picture)}));
        return Fd(slave);
    }

    [[nodiscard]] bool ended() const {
        pollfd process = {.fd = host_->process().get(), .events = POLLIN, .revents = 0};
        return ::poll(&process, 1, 10'000) == 1;
    }

    // What /proc tells of it.
    [[nodiscard]] std::string status(const std::string &key) const {
        std::ifstream info(fmt::format("/proc/self/fdinfo/{}", host_->process().get()));
        std::string pid;
        for (std::string line; std::getline(info, line);)
            if (line.starts_with("Pid:\t"))
                pid = line.substr(5);
        std::ifstream status("/proc/" + pid + "/status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with(key + ":\t"))
                return line.substr(key.size() + 2);
        return "";
    }

    std::string directory_;
    uid_t owner_ = 0;
    gid_t group_ = 0;
    std::optional<TerminalHost> host_;
    uint16_t rows_ = 24;
};

TEST_F(TerminalHostTest, ServesTerminals) {
    const Fd three = add_terminal(3);
    const Fd nine = add_terminal(9);
    host_->open();
    const auto terminals = terminals_of("7", directory_);
    ASSERT_TRUE(terminals) << terminals.error().message();
    ASSERT_EQ(terminals->size(), 2U);
    EXPECT_EQ(terminals->at(1).index, 9U);
    EXPECT_EQ(terminals->at(1).size, (WindowSize{24, 80}));
}

TEST_F(TerminalHostTest, WhatWasShownGoesFromOneToTheNext) {
    using namespace std::chrono_literals;
    rows_ = 400; // several pieces
    std::string text = "\x1b[2J\x1b[1;1H";
    for (int row = 0; row < rows_; ++row)
        text += fmt::format("\x1b[{};1H\x1b[3{}mrow\u00e4\u20ac-{}", row + 1, row % 8, row);
    {
        const Fd three = add_terminal(3, text);
        const Fd nine = add_terminal(9);
        ASSERT_EQ(::write(nine.get(), "nine", 4), 4);
        host_->open();
        Pictures before;
        for (int i = 0; i < 100 && !before[9].contains("nine"); ++i)
            before = pictures_of("7", 10s, directory_).value();
        EXPECT_TRUE(before[9].contains("nine"));
        EXPECT_FALSE(before[9].contains("row"));
        for (int row = 0; row < rows_; ++row)
            EXPECT_TRUE(before[3].contains(fmt::format("row\u00e4\u20ac-{}", row))) << row;
        EXPECT_GT(before[3].size(), 8U << 10U);
        EXPECT_EQ(terminals_of("7", directory_)->at(0).attached, false);
    }
    EXPECT_TRUE(pictures_of("8", 10s, directory_)->empty()) << "no keeper";
}

TEST_F(TerminalHostTest, NobodyIsWaitedForWithoutEnd) {
    using namespace std::chrono_literals;
    const Fd three = add_terminal(3);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_FALSE(pictures_of("7", 100ms, directory_)) << "it is not open yet";
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST_F(TerminalHostTest, ClientsThatComeEarlyWait) {
    std::optional<Result<std::vector<TerminalEntry>>> terminals;
    std::jthread early([&] { terminals = terminals_of("7", directory_); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // it is no mistake to come later
    const Fd slave = add_terminal(3);
    host_->open();
    early.join();
    ASSERT_TRUE(*terminals) << terminals->error().message();
    EXPECT_EQ((*terminals)->size(), 1U);
}

TEST_F(TerminalHostTest, HasItsUsersRightsOnly) {
    host_->open();
    ASSERT_TRUE(terminals_of("7", directory_)); // it is there by now
    const auto id = fmt::format("{0}\t{0}\t{0}\t{0}", owner_);
    EXPECT_EQ(status("Uid"), id);
    EXPECT_EQ(status("Gid"), fmt::format("{0}\t{0}\t{0}\t{0}", group_));
    EXPECT_EQ(status("NoNewPrivs"), "1");
    if (::getuid() == 0) {
        EXPECT_EQ(status("CapEff"), "0000000000000000");
        EXPECT_EQ(status("CapPrm"), "0000000000000000");
        EXPECT_EQ(status("Groups"), " ");
    }
}

TEST_F(TerminalHostTest, NotesWhereOnlyItsKeeperHasMadeAFile) {
    const auto list = directory_ + "/logins";
    EXPECT_EQ(noted_logins(list)->at("7"), std::vector<std::string>{"c1"}) << "what it began with";
    host_->open();
    ASSERT_TRUE(terminals_of("7", directory_));
    EXPECT_TRUE(noted_logins(list)->contains("7")) << "it stays with the keeper's side";
    std::ifstream limits("/proc/" + status("Pid") + "/limits");
    std::string limit;
    while (std::getline(limits, limit) && !limit.starts_with("Max file size")) {
    }
    EXPECT_NE(limit.find(fmt::format(" {} ", login_list_limit)), std::string::npos) << limit;
    host_.reset();
    EXPECT_TRUE(noted_logins(list)->empty());
}

TEST_F(TerminalHostTest, EndsWhenClosed) {
    const Fd slave = add_terminal(3);
    host_->close("over");
    EXPECT_TRUE(ended());
    EXPECT_EQ(::write(slave.get(), "x", 1), -1); // hung up
    EXPECT_FALSE(host_->add({.index = 4, .old_index = 4, .fd = open_file("/dev/null", O_RDWR).value()}));
}

TEST_F(TerminalHostTest, EndsWithItsParentAndNotBySigterm) {
    const Fd slave = add_terminal(3);
    host_->open();
    ASSERT_TRUE(terminals_of("7", directory_));
    const auto pid = static_cast<pid_t>(std::stol(status("Pid")));
    ASSERT_GT(pid, 1);
    ASSERT_EQ(::kill(pid, SIGTERM), 0);
    ASSERT_EQ(::kill(pid, SIGHUP), 0);
    EXPECT_TRUE(terminals_of("7", directory_));
    const Fd process(::fcntl(host_->process().get(), F_DUPFD_CLOEXEC, 0));
    host_.reset();
    pollfd wait = {.fd = process.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&wait, 1, 10'000), 1);
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/7.sock"));
}

} // namespace
} // namespace abey::session
