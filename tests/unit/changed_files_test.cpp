// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files that were written to between checkpoint and resume, and what the policy makes of them.
#include "engine/image/image.h"
#include "files/cut.h"
#include "files_fixture.h"

#include <filesystem>

#include <nlohmann/json.hpp>

namespace abey::test {
namespace {

using policy::ChangedAction;

class ChangedFiles : public Files {
  protected:
    // A file of five bytes, as a checkpoint knows it.
    model::Inode known(const std::string &path) {
        path_ = path;
        const Fd file = make_file(path, "first");
        const auto policy = policy::Policy::defaults();
        auto keeper = this->keeper(policy);
        auto inode = identified(*keeper, file);
        EXPECT_EQ(must(keeper->plan(inode, file, use)), model::Strategy::none);
        return inode;
    }
    void append(std::string_view text) const {
        const Fd file = must(open_file(path_, O_WRONLY | O_APPEND));
        must(write_all(file, text));
    }
    [[nodiscard]] std::string now() const { return must(read_file(path_)); }
    std::unique_ptr<engine::FileOpener> opener_with(ChangedAction action) {
        return files::make_opener(images_, {}, [action](const std::string &) { return action; });
    }

    std::string path_;
};

TEST_P(ChangedFiles, AreRefusedByDefault) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    EXPECT_EQ(why(opener()->check(inode)), "no error");
    append(" more");
    EXPECT_NE(why(opener()->check(inode)).find("its size was 5 and is 10; bring its former contents back, or"),
              std::string::npos)
        << why(opener()->check(inode));
    EXPECT_FALSE(opener_with(ChangedAction::fail)->check(inode));
    EXPECT_FALSE(opener_with(ChangedAction::fail)->open(inode, O_RDONLY));
    EXPECT_EQ(now(), "first more");
}

TEST_P(ChangedFiles, AreTakenAsTheyAreWhenThePolicySaysSo) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    append(" more");
    const auto restore = opener_with(ChangedAction::accept);
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDWR));
    must(restore->settle());
    must(restore->finish(false));
    EXPECT_EQ(contents(file), "first more");
    ASSERT_EQ(::truncate(path_.c_str(), 2), 0);
    EXPECT_EQ(why(opener_with(ChangedAction::accept)->check(inode)), "no error");
}

TEST_P(ChangedFiles, AreCutToTheirOldSizeAtTheLastMomentOnly) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    append(" more");
    {
        const auto restore = opener_with(ChangedAction::restore_size);
        must(restore->check(inode));
        const Fd file = must(restore->open(inode, O_RDWR));
        const Fd again = must(restore->open(inode, O_RDONLY));
        EXPECT_EQ(now(), "first more");
        must(restore->settle());
        EXPECT_EQ(now(), "first");
        must(restore->finish(false));
    }
    EXPECT_EQ(now(), "first");
}

TEST_P(ChangedFiles, AreWhatTheyWereWhenTheResumeFailsAfterAll) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    const std::string more((2U << 20U) + 17, 'm');
    append(more);
    {
        const auto restore = opener_with(ChangedAction::restore_size);
        const Fd file = must(restore->open(inode, O_RDWR));
        must(restore->settle());
        EXPECT_EQ(now(), "first");
    }
    EXPECT_EQ(now(), "first" + more);
}

TEST_P(ChangedFiles, ThatSomebodyWritesToWhileTheResumeFailsLoseNothing) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    append(" more");
    {
        const auto restore = opener_with(ChangedAction::restore_size);
        const Fd file = must(restore->open(inode, O_RDWR));
        must(restore->settle());
        append("!");
    }
    EXPECT_EQ(now(), "first!");
    ASSERT_EQ(listed(images_ + "/cut").size(), 1U);
    EXPECT_EQ(must(read_file(images_ + "/cut/" + listed(images_ + "/cut")[0])), " more");
}

TEST_P(ChangedFiles, AreNotCutWhileSomebodyWritesToThem) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    append(" more");
    files::CutFiles cut(images_);
    cut.add(must(open_file(path_, O_PATH)), inode);
    must(cut.keep());
    append("!");
    EXPECT_NE(why(cut.cut()).find(path_ + ": it is being written to"), std::string::npos) << why(cut.cut());
    cut.undo();
    EXPECT_EQ(now(), "first more!");
    EXPECT_FALSE(std::filesystem::exists(images_ + "/cut"));
}

// Two files, of which a resume that was killed has cut one only.
class CutFiles : public ChangedFiles {
  protected:
    void kill_a_resume() {
        for (const auto *name : {"one", "two"}) {
            const auto inode = known(disk_->path() + "/" + name);
            paths_.push_back(path_);
            tree_.inodes[inode.id] = inode;
        }
        tree_.tasks.push_back({.pid = 1000, .state = model::TaskState::zombie, .comm = "gone"});
        images_ = disk_->base() + "/image";
        {
            auto image = must(image::Writer::create(images_));
            must(image.write(tree_));
            must(image.commit({}));
        }
        for (const auto &path : paths_) {
            path_ = path;
            append(" more");
        }
        const pid_t child = ::fork();
        if (child == 0) {
            ::setenv("ABEY_FAULT", "cut", 1);
            const auto restore = opener_with(ChangedAction::restore_size);
            std::vector<Fd> files;
            files.reserve(tree_.inodes.size());
            for (const auto &[id, inode] : tree_.inodes)
                files.push_back(must(restore->open(inode, O_RDWR)));
            (void)restore->settle();
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status));
        ASSERT_EQ(must(read_file(paths_[0])), "first");
        ASSERT_EQ(must(read_file(paths_[1])), "first more");
    }
    std::vector<std::string> paths_;
    model::Tree tree_;
};

TEST_P(CutFiles, AreWhatTheyWereAfterAResumeThatWasKilled) {
    NEED_DISK(GetParam());
    kill_a_resume();
    must(files::put_back(images_));
    for (const auto &path : paths_)
        EXPECT_EQ(must(read_file(path)), "first more");
    EXPECT_FALSE(std::filesystem::exists(images_ + "/cut"));
    must(files::put_back(images_)); // nothing left to do
    const auto restore = opener_with(ChangedAction::restore_size);
    for (const auto &[id, inode] : tree_.inodes)
        must(restore->open(inode, O_RDWR));
    must(restore->settle());
    must(restore->finish(false));
    for (const auto &path : paths_)
        EXPECT_EQ(must(read_file(path)), "first");
    EXPECT_FALSE(std::filesystem::exists(images_ + "/cut"));
}

TEST_P(CutFiles, ThatSomebodyHasWrittenToSinceAreNamedAndNothingIsLost) {
    NEED_DISK(GetParam());
    kill_a_resume();
    path_ = paths_[0];
    append("!");
    const auto reason = why(files::put_back(images_));
    EXPECT_NE(reason.find(paths_[0]), std::string::npos) << reason;
    EXPECT_EQ(reason.find(paths_[1]), std::string::npos) << reason;
    EXPECT_EQ(must(read_file(paths_[0])), "first!");
    EXPECT_EQ(must(read_file(paths_[1])), "first more");
    ASSERT_EQ(listed(images_ + "/cut").size(), 1U);
    EXPECT_EQ(must(read_file(images_ + "/cut/" + listed(images_ + "/cut")[0])), " more");
}

INSTANTIATE_TEST_SUITE_P(On, CutFiles, testing::Values("btrfs", "ext4", "xfs"),
                         [](const auto &each) { return each.param; });

TEST_P(ChangedFiles, ThatAreSmallerCannotHaveTheirSizeBack) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    ASSERT_EQ(::truncate(path_.c_str(), 2), 0);
    EXPECT_NE(why(opener_with(ChangedAction::restore_size)->check(inode)).find("smaller"), std::string::npos);
}

TEST_P(ChangedFiles, AnotherFileOfTheNameIsNeverTaken) {
    NEED_DISK(GetParam());
    const auto inode = known(disk_->path() + "/log");
    const Fd other = make_file(disk_->path() + "/other", "first and more");
    ASSERT_EQ(::rename((disk_->path() + "/other").c_str(), path_.c_str()), 0);
    for (const auto action : {ChangedAction::accept, ChangedAction::restore_size})
        EXPECT_NE(why(opener_with(action)->check(inode)).find("another file has its name; bring the one of that time"),
                  std::string::npos)
            << why(opener_with(action)->check(inode));
    EXPECT_EQ(now(), "first and more");
}

INSTANTIATE_TEST_SUITE_P(On, ChangedFiles, testing::Values("btrfs", "ext4", "xfs"),
                         [](const auto &each) { return each.param; });

TEST(ChangedRules, AreReadFromThePolicy) {
    const auto policy = must(policy::Policy::parse("[[changed]]\npath = \"/var/log/**\"\naction = \"accept\"\n"
                                                   "[[changed]]\npath = \"/srv/**\"\naction = \"restore-size\"\n",
                                                   "p"));
    EXPECT_EQ(policy.changed("/var/log/x/y"), ChangedAction::accept);
    EXPECT_EQ(policy.changed("/srv/x"), ChangedAction::restore_size);
    EXPECT_EQ(policy.changed("/home/x"), ChangedAction::fail);
    for (const std::string wrong : {"path = \"/x\"", "action = \"keep\"", "action = 1"})
        EXPECT_FALSE(policy::Policy::parse("[[changed]]\n" + wrong + "\n", "p")) << wrong;
}

} // namespace
} // namespace abey::test
