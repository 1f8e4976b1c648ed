// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is known beforehand about room: quota groups of btrfs, and what a user's quota says. Needs root.
#include "engine/os/room.h"

#include "disk.h"
#include "snapshot/provider.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>
#include <sys/syscall.h>

namespace abey::os {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t mebibyte = 1U << 20U;

bool btrfs(std::vector<std::string> words) {
    words.insert(words.begin(), "btrfs");
    return test::run(std::move(words));
}

class GroupTest : public testing::Test {
  protected:
    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        homes_ = disk_.path() + "/homes";
        home_ = homes_ + "/ada";
        ASSERT_TRUE(btrfs({"subvolume", "create", homes_}) && btrfs({"subvolume", "create", home_}));
    }
    void limit(const std::string &path, const std::string &size) const {
        ASSERT_TRUE(btrfs({"quota", "enable", disk_.path()}) && btrfs({"quota", "rescan", "-w", disk_.path()}));
        ASSERT_TRUE(btrfs({"qgroup", "limit", size, path}) && btrfs({"filesystem", "sync", disk_.path()}));
    }
    static Room room(const std::string &path) {
        const auto directory = open_file(path, O_PATH | O_DIRECTORY);
        EXPECT_TRUE(directory);
        auto found = room_in(*directory);
        EXPECT_TRUE(found) << found.error().message();
        return found.value_or(Room());
    }
    test::Disk disk_{"btrfs"};
    std::string homes_, home_;
};

TEST_F(GroupTest, TheNearestLimitCounts) {
    fs::create_directory(home_ + "/below");
    EXPECT_EQ(room(home_).bound, "the file system");
    limit(home_, "20M");
    const auto own = room(home_ + "/below");
    EXPECT_EQ(own.bound, "quota group 0/257");
    EXPECT_LE(own.bytes, 20 * mebibyte);
    EXPECT_GT(own.bytes, 19 * mebibyte);
    EXPECT_EQ(room(homes_).bound, "the file system");
    ASSERT_TRUE(btrfs({"qgroup", "create", "1/7", disk_.path()}) &&
                btrfs({"qgroup", "assign", "0/257", "1/7", disk_.path()}) &&
                btrfs({"qgroup", "limit", "5M", "1/7", disk_.path()}));
    limit(home_, "20M"); // waits for the count
    EXPECT_EQ(room(home_).bound, "quota group 1/7");
    EXPECT_LE(room(home_).bytes, 5 * mebibyte);
    EXPECT_TRUE(check_room(room(home_), 4 * mebibyte));
    const auto much = check_room(room(home_), 6 * mebibyte);
    ASSERT_FALSE(much);
    EXPECT_EQ(much.error().code(), EDQUOT);
    EXPECT_NE(much.error().message().find("quota group 1/7 has"), std::string::npos) << much.error().message();
}

TEST_F(GroupTest, ASnapshotThatIsNotPossibleIsToldBeforehand) {
    limit(home_, "16K");
    const auto provider = snapshot::make_provider("btrfs", home_).value();
    EXPECT_TRUE(provider->foretell()); // a snapshot is not charged to the home
    ASSERT_TRUE(provider->prepare());
    EXPECT_TRUE(provider->save("one"));
    limit(homes_, "16K");
    EXPECT_FALSE(provider->save("two")); // as the kernel says
    const auto foretold = provider->foretell();
    ASSERT_FALSE(foretold);
    EXPECT_EQ(foretold.error().code(), EDQUOT);
    EXPECT_NE(foretold.error().message().find("quota group 0/256"), std::string::npos) << foretold.error().message();
    EXPECT_FALSE(provider->prepare());
}

TEST(UserRoom, IsWhatTheLimitsLeave) {
    if_dqblk quota{};
    EXPECT_EQ(room_of(quota, 100).bytes, UINT64_MAX);
    quota.dqb_valid = QIF_ALL;
    quota.dqb_curspace = 3 * mebibyte;
    quota.dqb_curinodes = 10;
    EXPECT_EQ(room_of(quota, 100).bytes, UINT64_MAX); // 0 is no limit
    EXPECT_EQ(room_of(quota, 100).files, UINT64_MAX);
    quota.dqb_bhardlimit = 4096; // KiB
    quota.dqb_ihardlimit = 15;
    EXPECT_EQ(room_of(quota, 100).bytes, mebibyte);
    EXPECT_EQ(room_of(quota, 100).files, 5U);
    quota.dqb_bsoftlimit = 2048;
    EXPECT_EQ(room_of(quota, 100).bytes, mebibyte);
    quota.dqb_btime = 200;
    EXPECT_EQ(room_of(quota, 199).bytes, mebibyte);
    EXPECT_EQ(room_of(quota, 200).bytes, 0U);
    quota.dqb_curspace = 5 * mebibyte;
    EXPECT_EQ(room_of(quota, 100).bytes, 0U);
}

TEST(UserRoom, WithoutQuotasThereIsNoLimit) {
    const test::Disk disk("ext4");
    if (disk.path().empty())
        GTEST_SKIP() << disk.why_not();
    const auto directory = open_file(disk.path(), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(directory);
    EXPECT_EQ(room_of_user(*directory, 1000).bytes, UINT64_MAX);
}

// On most kernels that come with a distribution; a small one may have no quotas.
class QuotaTest : public testing::TestWithParam<std::string> {
  protected:
    static constexpr uid_t user = 4242;

    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        const bool xfs = GetParam() == "xfs";
        const auto image = disk_.path() + "/image";
        const std::vector<std::string> make = xfs ? std::vector<std::string>{"mkfs.xfs", "-q", image}
                                                  : std::vector<std::string>{"mkfs.ext4", "-q", "-O", "quota", image};
        top_ = disk_.path() + "/top";
        fs::create_directory(top_);
        ASSERT_TRUE(test::run({"truncate", "-s", "400M", image}) && test::run(make));
        mounted_ = test::run({"mount", "-o", xfs ? "loop,uquota" : "loop,usrquota", image, top_});
        if (!mounted_ || !set(1 << 20U, 1000))
            GTEST_SKIP() << "this kernel has no quotas on " << GetParam();
        home_ = top_ + "/ada";
        fs::create_directory(home_);
        ASSERT_TRUE(write_file(home_ + "/data", std::string(3 * mebibyte, 'x')));
        for (const auto &path : {home_ + "/data", home_})
            ASSERT_EQ(::chown(path.c_str(), user, user), 0);
        directory_ = open_file(top_, O_RDONLY | O_DIRECTORY).value();
        ASSERT_EQ(::syncfs(directory_.get()), 0);
    }
    void TearDown() override {
        directory_.reset();
        if (mounted_) {
            EXPECT_EQ(::umount2(top_.c_str(), 0), 0);
        }
    }
    [[nodiscard]] bool set(uint64_t kibibytes, uint64_t files) const {
        const auto top = open_file(top_, O_RDONLY | O_DIRECTORY);
        if_dqblk quota{};
        quota.dqb_bhardlimit = kibibytes;
        quota.dqb_ihardlimit = files;
        quota.dqb_valid = QIF_LIMITS;
        return top && ::syscall(SYS_quotactl_fd, top->get(), QCMD(Q_SETQUOTA, USRQUOTA), user, &quota) == 0;
    }
    // Why a copy of the home cannot be made.
    [[nodiscard]] std::string refusal() const {
        const auto prepared = snapshot::make_provider("rsync", home_).value()->prepare();
        return prepared ? "" : prepared.error().message();
    }
    // XFS counts the files of the attempt before until it has got round to freeing them.
    void expect_refusal(std::string_view reason) const {
        std::string found = refusal();
        for (int i = 0; i < 200 && !found.contains(reason); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
            found = refusal();
        }
        EXPECT_TRUE(found.contains(reason)) << found;
    }

    test::Disk disk_{"tmpfs"};
    std::string top_, home_;
    Fd directory_;
    bool mounted_ = false;
};

TEST_P(QuotaTest, WhatAUserMayStillWriteIsKnown) {
    ASSERT_TRUE(set(8192, 20));
    const auto room = room_of_user(directory_, user);
    EXPECT_LE(room.bytes, 5 * mebibyte);
    EXPECT_GT(room.bytes, 4 * mebibyte);
    EXPECT_EQ(room.files, 18U);
    EXPECT_EQ(room.bound, "the quota of user 4242");
    EXPECT_EQ(room_of_user(directory_, user + 1).bytes, UINT64_MAX);
}

TEST_P(QuotaTest, ACopyThatWouldFillItIsRefusedBeforehand) {
    ASSERT_TRUE(set(8192, 20));
    EXPECT_EQ(refusal(), "");
    ASSERT_TRUE(set(5120, 20));
    expect_refusal("the quota of user 4242 has");
    ASSERT_TRUE(set(8192, 3));
    expect_refusal("takes 2 files, and the quota of user 4242 has 1 left");
}

INSTANTIATE_TEST_SUITE_P(Disks, QuotaTest, testing::Values("ext4", "xfs"));

} // namespace
} // namespace abey::os
