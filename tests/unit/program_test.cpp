// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/program.h"

#include "engine/os/fd.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace abey {
namespace {

using namespace std::chrono_literals;

Program shell(const std::string &script) { return {.arguments = {"sh", "-c", script}}; }

TEST(Program, GivesInputAndHearsOutput) {
    auto program = shell("cat; echo done");
    program.input = std::string(300'000, 'x'); // more than a pipe holds
    std::string heard;
    const auto status = run_program(program, [&](std::string_view text) { heard += text; });
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(heard, program.input + "done\n");
}

TEST(Program, TakesArgumentsAsTheyAre) {
    std::string heard;
    ASSERT_TRUE(run_program({.arguments = {"printf", "%s|", "a b", "$(id)", "*", ""}},
                            [&](std::string_view text) { heard += text; }));
    EXPECT_EQ(heard, "a b|$(id)|*||");
}

TEST(Program, AFailureHasTheLastLineOfItsErrors) {
    const auto failed = run_program(shell("echo first >&2; echo the reason >&2; exit 3"));
    ASSERT_FALSE(failed);
    EXPECT_NE(failed.error().message().find("status 3: the reason"), std::string::npos) << failed.error().message();
    EXPECT_EQ(run_program(shell("exit 3"), {}, {0, 3}).value_or(-1), 3);
}

TEST(Program, OneThatIsNotThereIsNamed) {
    const auto failed = run_program({.arguments = {"no-such-program"}});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), ENOENT);
    EXPECT_NE(failed.error().message().find("no-such-program"), std::string::npos);
    EXPECT_FALSE(has_program("no-such-program"));
    EXPECT_TRUE(has_program("sh"));
}

TEST(Program, OneThatTakesTooLongIsEndedWithAllThatItStarted) {
    auto program = shell("sleep 1000 & echo $!; wait");
    program.limit = 300ms;
    std::string heard;
    const auto failed = run_program(program, [&](std::string_view text) { heard += text; });
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code(), ETIMEDOUT);
    ASSERT_FALSE(heard.empty());
    const auto child = static_cast<pid_t>(std::stol(heard));
    bool gone = false;
    for (int i = 0; i < 6000 && !gone; ++i) { // whoever reaps it may be busy
        const auto status = read_file(fmt::format("/proc/{}/stat", child));
        gone = !status || status->find(") Z ") != std::string::npos;
        ::usleep(10'000);
    }
    EXPECT_TRUE(gone);
}

TEST(Program, InheritsNothing) {
    const Fd own(::open("/dev/null", O_RDONLY)); // NOLINT(android-cloexec-open): that it is not passed on is the test
    ::setenv("SECRET", "x", 1);
    std::string heard;
    ASSERT_TRUE(run_program(shell("ls /proc/self/fd | wc -l; echo ${SECRET-none}; pwd"),
                            [&](std::string_view text) { heard += text; }));
    EXPECT_EQ(heard, "4\nnone\n/\n"); // 0, 1, 2 and the one that ls reads from
}

TEST(Program, RunsAsAUserWithTheirGroupsOnly) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    auto program = shell("id -u; id -g; id -G");
    program.as = {65534, 65534};
    program.user = "nobody";
    std::string heard;
    const auto status = run_program(program, [&](std::string_view text) { heard += text; });
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ(heard, "65534\n65534\n65534\n");
}

} // namespace
} // namespace abey
