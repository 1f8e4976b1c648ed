// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Programs and libraries that are replaced between checkpoint and resume.
#include "files_fixture.h"

namespace abey::test {
namespace {

const engine::FileUse reader{.pid = 1, .comm = "test", .descriptor = -1, .mapping_end = 4096, .mapped = true};

class PinnedFiles : public Files {
  protected:
    policy::Policy pinning(const std::string &strategies) const {
        return must(policy::Policy::parse(
            "[[pin]]\npath = \"" + disk_->path() + "/**\"\nstrategies = [" + strategies + "]\n", "p"));
    }
    // The library, kept as the policy says.
    model::Inode known(const policy::Policy &policy, model::Strategy wanted, const engine::FileUse &by = reader) {
        path_ = home_ + "/libfoo.so";
        {
            const Fd made = make_file(path_, std::string(10'000, 'v') + "1");
            EXPECT_EQ(::fchmod(made.get(), 0755), 0);
        }
        const Fd file = must(open_file(path_, O_RDONLY));
        keeper_ = keeper(policy);
        auto inode = identified(*keeper_, file);
        EXPECT_EQ(must(keeper_->plan(inode, file, by)), wanted);
        must(keeper_->keep(inode, file, by));
        EXPECT_EQ(inode.kept.strategy, wanted);
        must(keeper_->sync());
        return inode;
    }
    void upgrade() const {
        (void)make_file(path_ + ".new", "version 2");
        ASSERT_EQ(::rename((path_ + ".new").c_str(), path_.c_str()), 0);
    }
    [[nodiscard]] std::string best() const { return GetParam() == "ext4" ? "\"reflink\", \"copy\"" : "\"reflink\""; }

    std::string path_;
    std::unique_ptr<engine::FileKeeper> keeper_;
};

TEST_P(PinnedFiles, StandInForWhatWasReplaced) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto inode = known(policy, model::Strategy::pin);
    upgrade();
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    const Fd again = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(contents(file), std::string(10'000, 'v') + "1");
    const auto status = must(stat_of(file));
    EXPECT_TRUE(files::is_same_inode(status, must(stat_of(again))));
    EXPECT_EQ(status.st_nlink, 0U);
    EXPECT_EQ(status.st_mode & 07777U, 0755U);
    EXPECT_EQ(must(read_file(path_)), "version 2");
    must(restore->finish(false));
    EXPECT_EQ(listed(home_), std::vector<std::string>{"libfoo.so"});
    EXPECT_FALSE(std::filesystem::exists(disk_->path() + "/.abeyance"));
}

TEST_P(PinnedFiles, AreNotUsedWhenTheFileIsStillTheSame) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto inode = known(policy, model::Strategy::pin);
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(shown(file), path_);
    EXPECT_EQ(must(stat_of(file)).st_nlink, 1U);
    must(restore->finish(false));
    EXPECT_EQ(listed(home_), std::vector<std::string>{"libfoo.so"});
    EXPECT_FALSE(std::filesystem::exists(disk_->path() + "/.abeyance"));
}

TEST_P(PinnedFiles, StandInForWhatIsGone) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto inode = known(policy, model::Strategy::pin);
    ASSERT_EQ(::unlink(path_.c_str()), 0);
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(shown(file), path_ + " (deleted)");
    EXPECT_EQ(contents(file).size(), 10'001U);
    must(restore->finish(true));
    EXPECT_EQ(why(opener()->check(inode)), "no error"); // it can be resumed again
}

TEST_P(PinnedFiles, WithoutACopyTheResumeIsRefused) {
    NEED_DISK(GetParam());
    const auto policy = GetParam() == "ext4" ? pinning("\"reflink\"") : policy::Policy::defaults();
    const auto inode = known(policy, model::Strategy::none);
    EXPECT_EQ(why(opener()->check(inode)), "no error");
    upgrade();
    EXPECT_FALSE(opener()->check(inode));
    EXPECT_FALSE(opener()->open(inode, O_RDONLY));
}

TEST_P(PinnedFiles, WhatCanBeWrittenIsNone) {
    NEED_DISK(GetParam());
    const auto policy = pinning("\"reflink\", \"copy\"");
    known(policy, model::Strategy::none, use);
}

INSTANTIATE_TEST_SUITE_P(On, PinnedFiles, testing::Values("btrfs", "ext4", "xfs"),
                         [](const auto &each) { return each.param; });

TEST(PinRules, AreReadFromThePolicy) {
    const auto policy =
        must(policy::Policy::parse("[[pin]]\npath = \"/usr/local/**\"\nstrategies = []\n"
                                   "[[pin]]\npath = \"/usr/**\"\nstrategies = [\"reflink\", \"copy\"]\n",
                                   "p"));
    EXPECT_TRUE(policy.pin("/usr/local/lib/x").empty());
    EXPECT_EQ(policy.pin("/usr/lib/x"), (std::vector{model::Strategy::reflink, model::Strategy::copy}));
    EXPECT_TRUE(policy.pin("/opt/x").empty());
    for (const std::string wrong : {"path = \"/x\"", "strategies = \"embed\"", "strategies = 1"})
        EXPECT_FALSE(policy::Policy::parse("[[pin]]\n" + wrong + "\n", "p")) << wrong;
}

} // namespace
} // namespace abey::test
