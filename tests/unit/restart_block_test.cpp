// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/kernel_types.h"
#include "engine/os/restart_block.h"
#include "engine/os/wait_end.h"

#include <csignal>
#include <ctime>

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {
namespace {

TEST(RestartBlocks, TellWhenASleepIsToEnd) {
    const auto blocks = RestartBlocks::open();
    if (!blocks)
        GTEST_SKIP() << blocks.error().message();
    const pid_t child = ::fork();
    if (child == 0) {
        const timespec time = {1000, 0};
        ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
        ::_exit(0);
    }
    // once more, should it not have been asleep yet
    timespec now = {};
    int64_t left = 0;
    for (int i = 0; i < 100 && left < 900; ++i) {
        ::usleep(10000);
        ::kill(child, SIGSTOP);
        ::waitpid(child, nullptr, WUNTRACED);
        const auto block = blocks->of(child);
        ASSERT_TRUE(block) << block.error().message();
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        left = static_cast<int64_t>(block->sleep_end / 1000000000) - now.tv_sec;
        ::kill(child, SIGCONT);
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_LE(left, 1000);
    EXPECT_GE(left, 900);
    EXPECT_FALSE(blocks->of(child));
}

TEST(WaitEnds, TellWhenAWaitIsToEnd) {
    const auto ends = WaitEnds::open();
    if (!ends)
        GTEST_SKIP() << ends.error().message();
    for (const int milliseconds : {1000000, -1}) {
        const pid_t child = ::fork();
        if (child == 0) {
            epoll_event event = {};
            ::epoll_wait(::epoll_create1(0), &event, 1, milliseconds);
            ::_exit(0);
        }
        timespec now = {};
        int64_t left = 0;
        for (int i = 0; i < 30 && left < 900; ++i) { // should it not have been waiting yet
            ::usleep(10000);
            const auto end = ends->of(child);
            ASSERT_TRUE(end) << end.error().message();
            ::clock_gettime(CLOCK_MONOTONIC, &now);
            left = *end ? static_cast<int64_t>(**end / 1000000000) - now.tv_sec : 0;
        }
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
        EXPECT_LE(left, 1000);
        EXPECT_GE(left, milliseconds < 0 ? 0 : 900);
        EXPECT_TRUE(milliseconds > 0 || left == 0);
        EXPECT_FALSE(ends->of(child));
    }
}

TEST(KernelTypes, RefuseWhatTheyCannotUnderstand) {
    EXPECT_FALSE(KernelTypes::parse(""));
    EXPECT_FALSE(KernelTypes::parse(std::string(64, '\0')));
    const auto whole = KernelTypes::read();
    if (!whole)
        GTEST_SKIP() << whole.error().message();
    const auto structure = whole->structure("task_struct");
    ASSERT_TRUE(structure) << structure.error().message();
    EXPECT_FALSE(whole->structure("no_such_struct"));
    EXPECT_FALSE(whole->offset(*structure, "no_such_member"));
    EXPECT_FALSE(whole->offset(*structure, "pid.no_such_member"));
    EXPECT_TRUE(whole->offset(*structure, "restart_block.nanosleep.expires"));
}

} // namespace
} // namespace abey::os
