// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the pipeline does, and does not, with the home.
#include "kinds_fixture.h"

#include "policy/policy.h"
#include "snapshot/provider.h"
#include "suspend/suspend.h"

#include <cstdlib>
#include <linux/io_uring.h>

using namespace abey;
using namespace abey::test;

namespace {

// Notes what it was asked for.
class Home : public snapshot::Provider {
  public:
    std::vector<std::string> asked;

    Result<> prepare() override {
        asked.emplace_back("prepare");
        return {};
    }
    Result<snapshot::Saved> save(const std::string & /*id*/) override {
        asked.emplace_back("save");
        return fail(ENOSPC, "the disk is full");
    }
    Result<> discard(const std::string & /*id*/) override { return {}; }
    Result<std::string> remove(const snapshot::Saved & /*saved*/) override { return std::string(); }
    Result<bool> diverged(const snapshot::Saved & /*saved*/) override { return false; }
    Result<> check(const snapshot::Saved & /*saved*/) override { return {}; }
    Result<snapshot::Displaced> roll_back(const snapshot::Saved & /*saved*/) override { return snapshot::Displaced{}; }
    Result<> undo(const snapshot::Displaced & /*displaced*/) override { return {}; }
    Result<std::vector<snapshot::Change>> changes(const snapshot::Saved & /*saved*/, size_t /*limit*/) override {
        return std::vector<snapshot::Change>();
    }
};

class Suspend : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0)
            GTEST_SKIP() << "needs root";
        request_.images = scratch_ / "images";
        request_.id = "test";
        request_.policy = &policy_;
        request_.home = &home_;
    }

    Scratch scratch_;
    policy::Policy policy_ = policy::Policy::defaults();
    Home home_;
    suspend::Request request_;
};

TEST_F(Suspend, RefusesBeforeTheHomeIsTouched) {
    Child child([] {
        io_uring_params params = {};
        put(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &params)), 10);
    });
    if (child.failed())
        GTEST_SKIP() << "this kernel gives no io_uring";
    request_.pid = child.pid();
    const auto refused = suspend::run(request_);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("io_uring"), std::string::npos) << refused.error().message();
    EXPECT_TRUE(home_.asked.empty()) << home_.asked.front();
}

TEST_F(Suspend, RefusesMoreTerminalsThanCanBeServed) {
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ASSERT_GE(master, 0);
    ASSERT_EQ(::unlockpt(master), 0);
    const std::string slave = ::ptsname(master);
    Child child([&slave] { put(::open(slave.c_str(), O_RDWR | O_NOCTTY), 10); });
    request_.pid = child.pid();
    request_.home = nullptr;
    request_.most_terminals = 0;
    const auto refused = suspend::run(request_);
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message().starts_with("its processes use 1 terminals of programs outside"))
        << refused.error().message();
    EXPECT_EQ(::kill(child.pid(), 0), 0);
    EXPECT_FALSE(std::filesystem::exists(request_.images));
    request_.most_terminals = 1;
    request_.keep_running = true;
    const auto done = suspend::run(request_);
    EXPECT_TRUE(done) << done.error().message();
    ::close(master);
}

TEST_F(Suspend, ThatCannotSaveTheHomeLetsTheProcessesLive) {
    Child child([] { put(::open("/dev/null", O_RDONLY), 10); });
    request_.pid = child.pid();
    const auto refused = suspend::run(request_);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("the disk is full"), std::string::npos) << refused.error().message();
    EXPECT_EQ(home_.asked, (std::vector<std::string>{"prepare", "save"}));
    EXPECT_EQ(::kill(child.pid(), 0), 0);
    EXPECT_EQ(read_link("/proc/" + std::to_string(child.pid()) + "/fd/10").value_or(""), "/dev/null");
    EXPECT_FALSE(std::filesystem::exists(request_.images));
}

} // namespace
