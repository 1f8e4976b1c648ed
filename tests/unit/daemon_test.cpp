// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/logins.h"
#include "daemon/options.h"
#include "daemon/terminal_message.h"

#include "dbus/names.h"
#include "engine/os/fd.h"

#include <filesystem>
#include <string_view>

#include <pty.h>

#include <gtest/gtest.h>

namespace abey::daemon {
namespace {

TEST(Options, AreTakenWhenKnownAndOfTheRightType) {
    EXPECT_FALSE(suspend_options({}).value().keep_running);
    const auto suspend = suspend_options({{"keep-running", true}, {"after-disconnect", true}});
    ASSERT_TRUE(suspend);
    EXPECT_TRUE(suspend->keep_running);
    EXPECT_TRUE(suspend->after_disconnect);
    const auto resume = resume_options({{"pids", std::string("same")}, {"on-divergence", std::string("fail")}});
    ASSERT_TRUE(resume);
    EXPECT_EQ(resume->pids, "same");
    EXPECT_EQ(resume->on_divergence, "fail");
}

TEST(Options, AreRefusedOtherwise) {
    const auto refused = [](const auto &answer) {
        return !answer && std::string_view(answer.error().name) == bus::error::invalid_argument;
    };
    EXPECT_TRUE(refused(suspend_options({{"keep-runing", true}})));
    EXPECT_TRUE(refused(suspend_options({{"keep-running", std::string("yes")}})));
    EXPECT_TRUE(refused(suspend_options({{"pids", std::string("same")}})));
    EXPECT_TRUE(refused(resume_options({{"pids", std::string("")}})));
    EXPECT_TRUE(refused(resume_options({{"pids", std::string("Same")}})));
    EXPECT_TRUE(refused(resume_options({{"pids", true}})));
    EXPECT_TRUE(refused(resume_options({{"on-divergence", std::string("private")}})));
}

session::Session login(const char *service) {
    return {.id = "7", .uid = 1000, .user = "ada", .tty = "tty2", .type = "tty", .klass = "user", .service = service};
}

TEST(Logins, OnlyPersonsAtTerminalsCount) {
    EXPECT_TRUE(is_login_of_a_person(login("login")));
    EXPECT_TRUE(is_login_of_a_person(login("sshd")));
    for (const auto *service : {"abeyance", "cron", "crond", "atd", "su-l", "sudo", "runuser-l", "systemd-user"})
        EXPECT_FALSE(is_login_of_a_person(login(service))) << service;
    auto other = login("login");
    other.klass = "background";
    EXPECT_FALSE(is_login_of_a_person(other));
    other = login("sddm");
    other.type = "wayland";
    EXPECT_FALSE(is_login_of_a_person(other));
    other = login("sshd");
    other.tty = ""; // scp
    EXPECT_FALSE(is_login_of_a_person(other));
}

TEST(Logins, BringTheYoungestWaitingOneBack) {
    const std::vector<Checkpoint> all{{.id = "a", .uid = 1000, .created = 1, .state = "waiting"},
                                      {.id = "b", .uid = 1000, .created = 3, .state = "waiting"},
                                      {.id = "c", .uid = 1000, .created = 2, .state = "waiting"},
                                      {.id = "d", .uid = 1000, .created = 4, .state = "resumed"},
                                      {.id = "e", .uid = 1001, .created = 5, .state = "waiting"},
                                      {.id = "f", .uid = 1000, .created = 6, .state = "waiting", .kept_running = true}};
    EXPECT_EQ(waiting_for(1000, all).value().id, "b");
    EXPECT_EQ(waiting_for(1001, all).value().id, "e");
    EXPECT_FALSE(waiting_for(0, all));
}

TEST(Logins, AreAnsweredOncePerCheckpoint) {
    std::string pattern = std::filesystem::temp_directory_path() / "abeyance-login-XXXXXX";
    const std::string directory = ::mkdtemp(pattern.data());
    EXPECT_TRUE(first_attempt("a", directory + "/marks").value());
    EXPECT_FALSE(first_attempt("a", directory + "/marks").value());
    EXPECT_TRUE(first_attempt("b", directory + "/marks").value());
    EXPECT_FALSE(first_attempt("../a", directory + "/marks"));
    std::filesystem::remove_all(directory);
}

TEST(TerminalMessage, GoesOnlyToTheUsersOwnTerminal) {
    int master = -1;
    int slave = -1;
    std::array<char, 64> name{};
    ASSERT_EQ(::openpty(&master, &slave, name.data(), nullptr, nullptr), 0);
    const Fd owner(master);
    const Fd other_end(slave);
    const auto tty = std::string(name.data()).substr(std::string_view("/dev/").size());
    struct stat status {};
    ASSERT_EQ(::fstat(slave, &status), 0);

    const auto written = write_to_terminal(tty, status.st_uid, "hello \x1b[2J");
    ASSERT_TRUE(written) << written.error().message();
    std::array<char, 128> seen{};
    ASSERT_GT(::read(master, seen.data(), seen.size() - 1), 0);
    EXPECT_NE(std::string_view(seen.data()).find("hello \\x1b[2J"), std::string_view::npos);

    EXPECT_EQ(write_to_terminal(tty, status.st_uid + 1, "x").error().code(), EPERM);
    EXPECT_EQ(write_to_terminal("null", 0, "x").error().code(), EPERM);
    for (const auto *bad : {"", "/dev/null", "../etc/passwd", "pts/../null", "pts/1\n"})
        EXPECT_EQ(write_to_terminal(bad, 0, "x").error().code(), EINVAL) << bad;
}

} // namespace
} // namespace abey::daemon
