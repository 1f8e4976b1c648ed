// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Processes are brought to a standstill one after the other, while those that still run do what they like.
#include "engine/capture/freeze.h"
#include "engine/capture/leave_vdso.h"
#include "engine/os/procfs.h"

#include <atomic>
#include <csignal>
#include <ctime>
#include <thread>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

using namespace abey;

namespace {

constexpr int siblings = 60;

[[noreturn]] void sleep_for_ever() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        ::pause();
}

// A process with many children, the first of which has a second thread. First and last are told.
class Family {
  public:
    Family() {
        int ends[2] = {};
        if (::prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 || ::pipe(ends) < 0)
            return;
        root_ = ::fork();
        if (root_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            sigset_t blocked; // to see which are pending
            sigemptyset(&blocked);
            sigaddset(&blocked, SIGCHLD);
            ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
            for (int i = 0; i < siblings; ++i) {
                const pid_t child = ::fork();
                if (child == 0) {
                    const std::thread other(i == 0 ? sleep_for_ever : [] {});
                    ::close(ends[1]);
                    sleep_for_ever();
                }
                if ((i == 0 || i == siblings - 1) && ::write(ends[1], &child, sizeof child) < 0)
                    ::_exit(1);
            }
            ::close(ends[0]);
            ::close(ends[1]);
            sleep_for_ever();
        }
        ::close(ends[1]);
        if (::read(ends[0], &first_, sizeof first_) != sizeof first_ ||
            ::read(ends[0], &last_, sizeof last_) != sizeof last_)
            first_ = 0;
        char end = 0;
        static_cast<void>(::read(ends[0], &end, 1)); // all are there
        ::close(ends[0]);
    }
    Family(const Family &) = delete;
    Family &operator=(const Family &) = delete;
    ~Family() {
        ::kill(root_, SIGKILL);
        while (::waitpid(-1, nullptr, 0) > 0) { // the children become ours
        }
    }
    [[nodiscard]] pid_t root() const { return root_; }
    [[nodiscard]] pid_t first() const { return first_; }
    [[nodiscard]] pid_t last() const { return last_; }

  private:
    pid_t root_ = 0, first_ = 0, last_ = 0;
};

std::string status_of(pid_t pid) { return os::read_proc(pid, "status").value_or(""); }

bool stands(pid_t pid) { return status_of(pid).find("State:\tt") != std::string::npos; }

TEST(StandStill, ProcessThatIsKilledByOneThatStillRunsIsAZombie) {
    for (int attempt = 0; attempt < 50; ++attempt) {
        const Family family;
        ASSERT_GT(family.first(), 0);
        std::atomic<bool> over = false, in_time = false;
        std::thread killer([&] {
            while (!over && !stands(family.first())) {
            }
            if (!over && ::kill(family.first(), SIGKILL) == 0)
                in_time = !stands(family.last()); // it will be waited for
        });
        auto still = capture::StandStill::of({.pid = family.root()});
        over = true;
        killer.join();
        if (!in_time)
            continue; // it may have been so late that it is told to try again
        ASSERT_TRUE(still) << still.error().message();
        bool seen = false;
        for (const capture::Stopped &process : still->processes()) {
            for (const os::Tracee &thread : process.threads)
                EXPECT_TRUE(thread.registers()) << thread.registers().error().message();
            if (process.pid != family.first())
                continue;
            seen = true;
            EXPECT_TRUE(process.stat.zombie());
            EXPECT_TRUE(process.threads.empty());
        }
        EXPECT_TRUE(seen) << "its parent stands still and has not waited for it";
        EXPECT_NE(status_of(family.root()).find("ShdPnd:\t0000000000010000"), std::string::npos) << "it is told";
        return;
    }
    GTEST_SKIP() << "this machine is too fast: nobody was killed in time";
}

} // namespace

namespace {

// A child whose threads are nearly always within the vDSO; with a clock that only the kernel can read, in a system call
// from there.
class Clocks : public ::testing::TestWithParam<clockid_t> {
  protected:
    void SetUp() override {
        child_ = ::fork();
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            const std::thread other(ask);
            ask();
        }
    }
    void TearDown() override {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    static void ask() {
        timespec time = {};
        for (;;)
            (void)::clock_gettime(GetParam(), &time);
    }
    pid_t child_ = -1;
};

TEST_P(Clocks, NobodyStandsWithinTheVdso) {
    constexpr int times = 20;
    for (int i = 0; i < times; ++i) {
        ::usleep(1000);
        auto still = capture::StandStill::of({.pid = child_, .cgroup = "", .spare = {}});
        ASSERT_TRUE(still) << still.error().message();
        const auto vdso = capture::vdso_of(child_);
        ASSERT_LT(vdso.first, vdso.second);
        ASSERT_EQ(still->processes().size(), 1U);
        for (const os::Tracee &thread : still->processes().front().threads) {
            EXPECT_FALSE(capture::stands_within(child_, thread.registers().value(), vdso)) << i;
        }
    }
}

// Nobody but the signal's sender has stopped it, and it is still so when it is let go.
TEST_P(Clocks, WhoeverIsStoppedMeanwhileStaysStopped) {
    for (int i = 0; i < 10; ++i) {
        std::thread sender([this] { ::kill(child_, SIGSTOP); });
        auto still = capture::StandStill::of({.pid = child_, .cgroup = "", .spare = {}});
        sender.join();
        ASSERT_TRUE(still) << still.error().message();
        *still = {};
        int status = 0;
        ASSERT_EQ(child_, ::waitpid(child_, &status, WUNTRACED));
        ASSERT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) << status;
        ::kill(child_, SIGCONT);
        ASSERT_EQ(child_, ::waitpid(child_, &status, WCONTINUED));
    }
}

INSTANTIATE_TEST_SUITE_P(ByWhom, Clocks, ::testing::Values(CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID));

} // namespace
