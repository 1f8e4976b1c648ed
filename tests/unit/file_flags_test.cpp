// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Flags of chattr(1) on files that are kept and made again.
#include "files_fixture.h"

#include <linux/fs.h>

namespace abey::test {
namespace {

// As the kernel tells them, without those that it gives by itself (extents, inline data, ...).
constexpr unsigned interesting =
    FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NOCOW_FL;
unsigned flags_of(const Fd &fd) {
    const Fd own = must(files::reopen(fd, O_RDONLY));
    unsigned flags[2] = {};
    EXPECT_EQ(::ioctl(own.get(), FS_IOC_GETFLAGS, flags), 0);
    return flags[0] & interesting;
}
void set_flags(const Fd &fd, unsigned flags) {
    unsigned value[2] = {};
    ASSERT_EQ(::ioctl(fd.get(), FS_IOC_GETFLAGS, value), 0);
    value[0] = (value[0] & ~interesting) | flags;
    ASSERT_EQ(::ioctl(fd.get(), FS_IOC_SETFLAGS, value), 0) << strerror(errno);
}

class FileFlags : public Files {
  protected:
    // Deleted, and given flags then: a file that had them could not have been deleted.
    model::Inode deleted(const std::string &strategy, unsigned first, unsigned later) {
        path_ = home_ + "/flagged";
        const Fd fd = must(open_file(path_, O_RDWR | O_CREAT | O_EXCL, 0640));
        set_flags(fd, first);
        must(write_all(fd, "contents"));
        EXPECT_EQ(::unlink(path_.c_str()), 0);
        set_flags(fd, first | later);
        policy_ = rules("\"" + strategy + "\"");
        keeper_ = keeper(*policy_);
        auto inode = identified(*keeper_, fd);
        must(keeper_->keep(inode, fd, use));
        must(keeper_->sync());
        set_flags(fd, 0); // so that the disk can go
        return inode;
    }
    void expect_back(const model::Inode &inode, unsigned wanted) {
        const auto restore = opener();
        must(restore->check(inode));
        const Fd file = must(restore->open(inode, O_RDWR)); // which the last flags would forbid
        const Fd again = must(restore->open(inode, O_RDONLY));
        must(restore->settle());
        EXPECT_EQ(flags_of(file), wanted);
        EXPECT_EQ(flags_of(again), wanted);
        EXPECT_EQ(contents(file), "contents");
        must(restore->finish(false));
        set_flags(file, 0);
    }

    std::string path_;
    std::optional<policy::Policy> policy_;
    std::unique_ptr<engine::FileKeeper> keeper_;
};

TEST_P(FileFlags, ComeBackWithEmbeddedContents) {
    NEED_DISK(GetParam());
    const auto inode = deleted("embed", FS_NODUMP_FL, FS_APPEND_FL | FS_IMMUTABLE_FL);
    EXPECT_EQ(inode.flags, static_cast<uint32_t>(FS_NODUMP_FL | FS_APPEND_FL | FS_IMMUTABLE_FL));
    expect_back(inode, FS_NODUMP_FL | FS_APPEND_FL | FS_IMMUTABLE_FL);
}

TEST_P(FileFlags, ComeBackWithACopy) {
    NEED_DISK(GetParam());
    if (GetParam() == "tmpfs")
        GTEST_SKIP() << "nothing is copied within memory";
    expect_back(deleted("copy", FS_NOATIME_FL, FS_APPEND_FL), FS_NOATIME_FL | FS_APPEND_FL);
}

TEST_P(FileFlags, NoCopyOnWriteComesBack) {
    NEED_DISK(GetParam());
    if (GetParam() != "btrfs")
        GTEST_SKIP() << "only btrfs has it";
    for (const auto *strategy : {"reflink", "embed", "copy"})
        expect_back(deleted(strategy, FS_NOCOW_FL, 0), FS_NOCOW_FL);
}

// In memory: made again under its name. When the resume fails after all, the name goes although the file is immutable.
TEST_P(FileFlags, DoNotKeepANameFromBeingTakenBack) {
    NEED_DISK(GetParam());
    if (GetParam() != "tmpfs")
        GTEST_SKIP() << "a lasting name is not made again";
    path_ = home_ + "/flagged";
    const auto policy = policy::Policy::defaults();
    const auto keep = keeper(policy);
    model::Inode inode;
    {
        const Fd fd = make_file(path_, "contents");
        set_flags(fd, FS_IMMUTABLE_FL);
        inode = identified(*keep, fd);
        must(keep->keep(inode, fd, use));
        must(keep->sync());
        set_flags(fd, 0);
    }
    ASSERT_EQ(::unlink(path_.c_str()), 0);
    {
        const auto restore = opener();
        const Fd file = must(restore->open(inode, O_RDWR));
        must(restore->settle());
        EXPECT_EQ(flags_of(file), static_cast<unsigned>(FS_IMMUTABLE_FL));
        EXPECT_EQ(::unlink(path_.c_str()), -1) << "it is not immutable";
    }
    EXPECT_TRUE(listed(home_).empty());
}

INSTANTIATE_TEST_SUITE_P(On, FileFlags, testing::Values("btrfs", "ext4", "xfs", "tmpfs"),
                         [](const auto &each) { return each.param; });

} // namespace
} // namespace abey::test
