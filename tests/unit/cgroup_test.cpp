// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Freezing a cgroup of the test's own, with a process in it.
#include "engine/os/cgroup.h"

#include <cerrno>
#include <csignal>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace abey::os {
namespace {

std::string mount_of_cgroups() {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string source, place, type, rest; mounts >> source >> place >> type && std::getline(mounts, rest);)
        if (type == "cgroup2")
            return place;
    return "";
}

class Freezing : public testing::Test {
  protected:
    void SetUp() override {
        const std::string top = mount_of_cgroups();
        if (::geteuid() != 0 || top.empty())
            GTEST_SKIP() << "needs root and a mount of type cgroup2";
        path_ = fmt::format("{}/abeyance-test-{}", top, ::getpid());
        ASSERT_EQ(::mkdir(path_.c_str(), 0755), 0);
        process_ = ::fork();
        if (process_ == 0)
            for (;;)
                ::pause();
        ASSERT_TRUE(write_file(path_ + "/cgroup.procs", std::to_string(process_)));
    }
    void TearDown() override {
        if (path_.empty())
            return;
        (void)write_file(path_ + "/cgroup.freeze", "0");
        if (process_ > 0) {
            ::kill(process_, SIGKILL);
            ::waitpid(process_, nullptr, 0);
        }
        for (int i = 0; ::rmdir(path_.c_str()) < 0 && errno == EBUSY && i < 1000; ++i)
            ::usleep(10'000);
        EXPECT_NE(::access(path_.c_str(), F_OK), 0);
    }
    [[nodiscard]] bool is_frozen() const {
        return read_file(path_ + "/cgroup.events").value().find("frozen 1") != std::string::npos;
    }

    std::string path_;
    pid_t process_ = 0;
};

TEST_F(Freezing, EndsWithItsOwner) {
    const auto cgroup = Cgroup::open(path_);
    ASSERT_TRUE(cgroup) << cgroup.error().message();
    {
        const auto frozen = Frozen::freeze(*cgroup);
        ASSERT_TRUE(frozen) << frozen.error().message();
        EXPECT_TRUE(is_frozen());
    }
    EXPECT_EQ(read_file(path_ + "/cgroup.freeze").value(), "0\n");
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), 0) << "no child but the one in the cgroup";
    const pid_t process = process_;
    ::kill(process, SIGKILL);
    EXPECT_EQ(::waitpid(std::exchange(process_, 0), nullptr, 0), process);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(Freezing, KillsAllAndWaitsForTheirEnds) {
    const auto cgroup = Cgroup::open(path_);
    ASSERT_TRUE(cgroup);
    const auto killed = cgroup->kill();
    ASSERT_TRUE(killed) << killed.error().message();
    EXPECT_TRUE(cgroup->processes().value().empty());
    int status = 0;
    const pid_t process = process_;
    EXPECT_EQ(::waitpid(std::exchange(process_, 0), &status, 0), process);
    EXPECT_TRUE(WIFSIGNALED(status));
}

// systemd removes the directory of a scope as soon as nothing runs in it.
TEST_F(Freezing, KillsAllInOneThatIsRemovedMeanwhile) {
    for (int round = 0; round < 50; ++round) {
        const auto cgroup = Cgroup::open(path_);
        ASSERT_TRUE(cgroup);
        std::jthread remover([this](const std::stop_token &stop) {
            while (!stop.stop_requested() && ::rmdir(path_.c_str()) < 0) {
            }
        });
        const auto killed = cgroup->kill();
        EXPECT_TRUE(killed) << killed.error().message();
        remover.request_stop();
        remover.join();
        ::waitpid(std::exchange(process_, 0), nullptr, 0);
        EXPECT_TRUE(::rmdir(path_.c_str()) == 0 || errno == ENOENT);
        EXPECT_TRUE(cgroup->kill()) << "nothing is left to be killed in what is gone";
        SetUp();
    }
}

TEST_F(Freezing, OfOneselfIsRefused) {
    const pid_t inside = ::fork();
    if (inside == 0) {
        const bool moved = write_file(path_ + "/cgroup.procs", std::to_string(::getpid())).has_value();
        const auto cgroup = Cgroup::open(path_);
        const auto frozen = Frozen::freeze(*cgroup);
        ::_exit(moved && !frozen && frozen.error().code() == EDEADLK ? 0 : 1);
    }
    int status = -1;
    for (int i = 0; ::waitpid(inside, &status, WNOHANG) == 0; ++i) {
        if (i == 300) { // it has frozen itself
            (void)write_file(path_ + "/cgroup.freeze", "0");
            ::kill(inside, SIGKILL);
        }
        ::usleep(10'000);
    }
    EXPECT_EQ(status, 0);
}

TEST_F(Freezing, EndsWhenItsOwnerIsKilled) {
    const pid_t owner = ::fork();
    if (owner == 0) {
        const auto cgroup = Cgroup::open(path_);
        const auto frozen = Frozen::freeze(*cgroup);
        ::raise(frozen && is_frozen() ? SIGKILL : SIGTERM);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(owner, &status, 0), owner);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it was frozen";
    for (int i = 0; is_frozen() && i < 1000; ++i)
        ::usleep(10'000);
    EXPECT_FALSE(is_frozen());
    EXPECT_EQ(read_file(path_ + "/cgroup.freeze").value(), "0\n");
}

} // namespace
} // namespace abey::os
