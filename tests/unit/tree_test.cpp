// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Homes that are saved as copies, by each program, on file systems of the test's own. Needs root.
#include "snapshot/tree.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "snapshot/nilfs2.h"
#include "snapshot/subvolume.h"
#include "snapshot/tree_states.h"

#include <csignal>
#include <cstddef>
#include <set>

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

struct Way {
    const char *disk;
    TreeKind kind;
};

std::string contents(const std::string &path) { return read_file(path).value_or("(none)"); }

std::set<std::string> names_in(const std::string &path) {
    std::set<std::string> names;
    for (const auto &entry : fs::directory_iterator(path))
        names.insert(entry.path().filename());
    return names;
}

struct stat status_of(const std::string &path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
}

#define ASSERT_OK(expression)                                                                                          \
    if (const auto &ok_result = (expression); !ok_result)                                                              \
    FAIL() << ok_result.error().message()

class TreeTest : public testing::TestWithParam<Way> {
  protected:
    void SetUp() override {
        disk_.emplace(GetParam().disk);
        if (disk_->path().empty())
            GTEST_SKIP() << disk_->why_not();
        fs::permissions(disk_->path(), fs::perms(0755));
        home_ = disk_->path() + "/ada";
        fs::create_directory(home_);
        ASSERT_EQ(::chown(home_.c_str(), 1000, 1000), 0);
        write("note", "old");
        provider_ = make_tree_provider(GetParam().kind, home_);
    }
    void write(const std::string &name, const std::string &data) const {
        const auto written = write_file(home_ + "/" + name, data);
        ASSERT_TRUE(written) << written.error().message();
    }
    [[nodiscard]] std::string note() const { return contents(home_ + "/note"); }
    [[nodiscard]] std::string area(const std::string &name) const { return disk_->path() + "/.abeyance-homes/" + name; }
    [[nodiscard]] Saved saved(const std::string &id = "one") {
        const auto prepared = provider_->prepare();
        EXPECT_TRUE(prepared) << prepared.error().message();
        auto saved = provider_->save(id);
        EXPECT_TRUE(saved) << saved.error().message();
        return saved.value_or(Saved{});
    }
    [[nodiscard]] Displaced rolled_back(const Saved &saved) {
        auto displaced = provider_->roll_back(saved);
        EXPECT_TRUE(displaced) << displaced.error().message();
        return displaced.value_or(Displaced{});
    }
    [[nodiscard]] bool diverged(const Saved &saved) {
        const auto answer = provider_->diverged(saved);
        EXPECT_TRUE(answer) << answer.error().message();
        return answer.value_or(false);
    }
    // Runs `work` in a child that kills itself after `step`.
    template <class Work> void killed_after(const std::string &step, Work work) {
        const auto child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const auto provider = make_tree_provider(GetParam().kind, home_, [&step](std::string_view done) {
                if (done == step)
                    ::kill(::getpid(), SIGKILL);
            });
            work(*provider);
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "there is no step " << step;
    }
    [[nodiscard]] static bool shares_data() {
        return GetParam().kind == TreeKind::reflink || GetParam().kind == TreeKind::nilfs2;
    }

    std::optional<test::Disk> disk_;
    std::string home_;
    std::unique_ptr<Provider> provider_;
};

TEST_P(TreeTest, RollsBackAndKeepsWhatItDisplaces) {
    const auto state = saved();
    EXPECT_EQ(state.provider, name_of(GetParam().kind));
    EXPECT_FALSE(diverged(state));
    write("note", "new");
    write("other", "x");
    EXPECT_TRUE(diverged(state));
    ASSERT_OK(provider_->check(state));
    const auto displaced = rolled_back(state);
    EXPECT_EQ(note(), "old");
    EXPECT_FALSE(fs::exists(home_ + "/other"));
    EXPECT_EQ(contents(displaced.place + "/note"), "new");
    EXPECT_EQ(contents(displaced.place + "/other"), "x");
    EXPECT_EQ(names_in(area("displaced")).size(), 1U);
    EXPECT_TRUE(names_in(area("incoming")).empty());
    EXPECT_EQ(names_in(area("snapshots")), std::set<std::string>({"one"}));
    EXPECT_EQ(status_of(area("snapshots")).st_mode & 07777, 0700U);
}

TEST_P(TreeTest, TellsHowFarACopyIs) {
    if (shares_data())
        GTEST_SKIP() << "copies no data";
    std::vector<int> percents;
    provider_->on_progress([&](int percent) { percents.push_back(percent); });
    constexpr int count = 40;
    for (int i = 0; i < count; ++i)
        write(fmt::format("part{}", i), std::string(256U << 10U, static_cast<char>('a' + i % 26)));
    const auto fits = [&] {
        EXPECT_GE(percents.size(), 2U);
        EXPECT_TRUE(std::ranges::is_sorted(percents));
        EXPECT_TRUE(std::ranges::all_of(percents, [](int percent) { return percent >= 0 && percent <= 100; }));
        EXPECT_TRUE(!percents.empty() && percents.back() >= 95) << percents.back();
        percents.clear();
    };
    const auto state = saved();
    fits();
    write("note", "new");
    EXPECT_NE(rolled_back(state).place, "");
    if (GetParam().kind == TreeKind::tar)
        fits();
}

TEST_P(TreeTest, UndoBringsTheDisplacedHomeBack) {
    const auto state = saved();
    write("note", "new");
    const auto number = status_of(home_ + "/note").st_ino;
    const auto displaced = rolled_back(state);
    EXPECT_TRUE(provider_->untouched(state).value_or(false));
    ASSERT_OK(provider_->undo(displaced));
    EXPECT_EQ(note(), "new");
    EXPECT_EQ(status_of(home_ + "/note").st_ino, number);
    EXPECT_TRUE(names_in(area("displaced")).empty());
    EXPECT_TRUE(names_in(area("incoming")).empty());
    ASSERT_OK(provider_->undo(displaced)); // again, after a kill
    EXPECT_EQ(note(), "new");
}

TEST_P(TreeTest, WhatWasWrittenAfterARollBackIsNotLostByUndoingIt) {
    const auto state = saved();
    write("note", "new");
    const auto displaced = rolled_back(state);
    write("precious", "work");
    EXPECT_FALSE(provider_->untouched(state).value_or(true));
    ASSERT_OK(provider_->undo(displaced));
    EXPECT_EQ(note(), "new");
    const auto kept = names_in(area("displaced"));
    ASSERT_EQ(kept.size(), 1U);
    EXPECT_EQ(contents(area("displaced") + "/" + *kept.begin() + "/precious"), "work");
}

// What changes between the copy before the freeze and the moment that is saved.
TEST_P(TreeTest, SavesTheMomentOfTheSaveNotOfThePreparation) {
    write("grown", "a");
    write("goes", "x");
    fs::create_directories(home_ + "/dir/sub");
    write("dir/sub/file", "1");
    write("twice", "linked");
    fs::create_hard_link(home_ + "/twice", home_ + "/dir/twice");
    ASSERT_OK(provider_->prepare());
    write("grown", "ab");
    write("note", "odd"); // same size
    struct timespec times[2] = {{0, UTIME_OMIT}, status_of(home_ + "/dir/sub/file").st_mtim};
    write("dir/sub/file", "2"); // same size, and the time set back
    ASSERT_EQ(::utimensat(AT_FDCWD, (home_ + "/dir/sub/file").c_str(), times, 0), 0);
    fs::remove(home_ + "/goes");
    fs::create_directory(home_ + "/goes"); // another type
    write("goes/inside", "y");
    fs::permissions(home_ + "/twice", fs::perms(0640));
    fs::create_symlink("note", home_ + "/link");
    const auto state = provider_->save("one");
    ASSERT_OK(state);
    write("grown", "abc");
    fs::remove_all(home_ + "/dir");
    write("note", "lost");
    (void)rolled_back(*state);
    EXPECT_EQ(note(), "odd");
    EXPECT_EQ(contents(home_ + "/grown"), "ab");
    EXPECT_EQ(contents(home_ + "/dir/sub/file"), "2");
    EXPECT_EQ(contents(home_ + "/goes/inside"), "y");
    EXPECT_EQ(status_of(home_ + "/twice").st_mode & 0777, 0640U);
    EXPECT_EQ(status_of(home_ + "/twice").st_ino, status_of(home_ + "/dir/twice").st_ino);
    EXPECT_EQ(fs::read_symlink(home_ + "/link"), "note");
}

// Somebody could have put another directory there while the copy before the freeze was made.
TEST_P(TreeTest, NothingIsTakenOverFromBelowADirectoryThatWasMoved) {
    if (GetParam().kind == TreeKind::tar || GetParam().kind == TreeKind::nilfs2)
        GTEST_SKIP() << "does not find files by paths";
    fs::create_directories(home_ + "/dir/sub");
    write("dir/sub/file", "mine");
    ASSERT_OK(provider_->prepare());
    const auto passing = *names_in(area("snapshots")).begin();
    const auto copied = area("snapshots/") + passing + "/tree/dir/sub/file";
    const struct timespec set_back[2] = {{0, UTIME_OMIT}, status_of(copied).st_mtim};
    ASSERT_OK(write_file(copied, "root"));
    ASSERT_EQ(::utimensat(AT_FDCWD, copied.c_str(), set_back, 0), 0);
    fs::rename(home_ + "/dir", home_ + "/away");
    fs::rename(home_ + "/away", home_ + "/dir");
    const auto state = provider_->save("one");
    ASSERT_OK(state);
    EXPECT_EQ(contents(state->place + "/tree/dir/sub/file"), "mine");
}

TEST_P(TreeTest, ALaterStateLeavesTheEarlierOneAsItWas) {
    write("same", std::string(100'000, 's'));
    write("mode", "m");
    const auto first = saved("first");
    write("note", "two");
    struct timespec times[2] = {{0, UTIME_OMIT}, {1000, 5}};
    // same size, the same time of modification: only the inode tells
    const struct timespec set_back[2] = {{0, UTIME_OMIT}, status_of(home_ + "/mode").st_mtim};
    write("mode", "M");
    ASSERT_EQ(::utimensat(AT_FDCWD, (home_ + "/mode").c_str(), set_back, 0), 0);
    fs::permissions(home_ + "/same", fs::perms(0640));
    ASSERT_EQ(::utimensat(AT_FDCWD, (home_ + "/note").c_str(), times, 0), 0);
    const auto second = saved("second");
    provider_ = make_tree_provider(GetParam().kind, home_);
    fs::remove(home_ + "/same");
    (void)rolled_back(first);
    EXPECT_EQ(note(), "old");
    EXPECT_EQ(contents(home_ + "/mode"), "m");
    EXPECT_EQ(status_of(home_ + "/same").st_mode & 0777, 0600U);
    (void)rolled_back(second);
    EXPECT_EQ(note(), "two");
    EXPECT_EQ(contents(home_ + "/mode"), "M");
    EXPECT_EQ(status_of(home_ + "/note").st_mtim.tv_nsec, 5);
    EXPECT_EQ(status_of(home_ + "/same").st_mode & 0777, 0640U);
    // the later one does not need the earlier one
    ASSERT_OK(provider_->remove(first));
    EXPECT_EQ(names_in(area("snapshots")), std::set<std::string>({"second"}));
    write("note", "three");
    (void)rolled_back(second);
    EXPECT_EQ(note(), "two");
    EXPECT_EQ(contents(home_ + "/same"), std::string(100'000, 's'));
}

TEST_P(TreeTest, UnchangedFilesOfALaterStateTakeNoFurtherSpace) {
    if (GetParam().kind != TreeKind::rsync)
        GTEST_SKIP() << "another program shares in another way";
    write("same", std::string(100'000, 's'));
    (void)saved("first");
    (void)saved("second");
    EXPECT_EQ(status_of(area("snapshots/first/tree/same")).st_ino,
              status_of(area("snapshots/second/tree/same")).st_ino);
}

TEST_P(TreeTest, AttributesHolesAndOddNamesComeBack) {
    const std::string odd = "new\nline \xff\xfe " + std::string(200, 'n');
    write(odd, "odd");
    ASSERT_EQ(::chown((home_ + "/" + odd).c_str(), 1000, 100), 0);
    ASSERT_EQ(::chmod((home_ + "/" + odd).c_str(), 04751), 0);
    const bool attributes = ::setxattr((home_ + "/" + odd).c_str(), "user.colour", "red", 3, 0) == 0;
    std::string deep = home_;
    for (int i = 0; i < 40; ++i) {
        deep += "/" + std::string(20, 'd');
        fs::create_directory(deep);
    }
    ASSERT_OK(write_file(deep + "/file", "deep"));
    write("sparse", "");
    ASSERT_EQ(::truncate((home_ + "/sparse").c_str(), 1LL << 30U), 0);
    {
        const auto sparse = open_file(home_ + "/sparse", O_WRONLY);
        ASSERT_TRUE(sparse);
        ASSERT_EQ(::pwrite(sparse->get(), "data", 4, 512LL << 20U), 4);
    }
    ASSERT_EQ(::mkfifo((home_ + "/fifo").c_str(), 0600), 0);
    fs::permissions(home_ + "/fifo", fs::perms(0620));
    const auto state = saved();
    fs::remove_all(home_ + "/" + std::string(20, 'd'));
    fs::remove(home_ + "/" + odd);
    fs::remove(home_ + "/sparse");
    fs::remove(home_ + "/fifo");
    (void)rolled_back(state);
    EXPECT_EQ(contents(home_ + "/" + odd), "odd");
    const auto status = status_of(home_ + "/" + odd);
    EXPECT_EQ(status.st_uid, 1000U);
    EXPECT_EQ(status.st_gid, 100U);
    EXPECT_EQ(status.st_mode & 07777, 04751U);
    std::string colour(8, ' ');
    EXPECT_EQ(::getxattr((home_ + "/" + odd).c_str(), "user.colour", colour.data(), colour.size()),
              attributes ? 3 : -1);
    EXPECT_EQ(contents(deep + "/file"), "deep");
    EXPECT_EQ(status_of(home_ + "/sparse").st_size, 1LL << 30U);
    EXPECT_LT(status_of(home_ + "/sparse").st_blocks, 2048);
    EXPECT_EQ(status_of(home_ + "/fifo").st_mode, static_cast<mode_t>(S_IFIFO | 0620));
    EXPECT_EQ(status_of(home_).st_uid, 1000U);
}

TEST_P(TreeTest, FormerFilesTellWhatEachNameMeant) {
    const auto number = status_of(home_ + "/note").st_ino;
    const auto state = saved();
    write("note", "new");
    (void)rolled_back(state);
    EXPECT_NE(status_of(home_ + "/note").st_ino, number);
    const auto former = provider_->former_files(state);
    ASSERT_OK(former);
    const auto file = (*former)("note");
    ASSERT_TRUE(file);
    EXPECT_EQ(file->identity.number, number);
    EXPECT_EQ(file->size, 3U);
    EXPECT_FALSE((*former)("nothing"));
}

TEST_P(TreeTest, ChangesAreListedByPath) {
    write("goes", "12345");
    const auto state = saved();
    write("note", "longer");
    write("new", "n");
    fs::remove(home_ + "/goes");
    const auto listed = [&] {
        std::set<std::string> found;
        for (const Change &change : provider_->changes(state, 100).value_or(std::vector<Change>()))
            if (!change.path.empty())
                found.insert(fmt::format("{} {} {}>{}", static_cast<int>(change.kind), change.path, change.size_before,
                                         change.size_now));
        return found;
    };
    EXPECT_EQ(listed(), (std::set<std::string>{"2 note 3>6", "0 new 0>1", "1 goes 5>0"}));
    (void)rolled_back(state);
    EXPECT_TRUE(listed().empty());
    write("note", "longer");
    EXPECT_EQ(listed(), (std::set<std::string>{"2 note 3>6"}));
}

TEST_P(TreeTest, KilledAnywhereThereIsAHomeAndNothingIsLeft) {
    for (const std::string step : {"copied", "named"}) {
        SCOPED_TRACE(step);
        killed_after(step, [](Provider &provider) {
            (void)provider.prepare();
            (void)provider.save("killed");
        });
        EXPECT_EQ(note(), "old");
        ASSERT_OK(provider_->discard("killed"));
        EXPECT_TRUE(names_in(area("snapshots")).empty());
    }
    const auto state = saved();
    write("note", "new");
    for (const std::string step : {"copy made", "copy named", "exchanged", "displaced"}) {
        SCOPED_TRACE(step);
        killed_after(step, [&](Provider &provider) { (void)provider.roll_back(state); });
        const bool exchanged = step == "exchanged" || step == "displaced";
        EXPECT_EQ(note(), exchanged ? "old" : "new");
        const auto displaced = rolled_back(state);
        EXPECT_EQ(note(), "old");
        EXPECT_TRUE(names_in(area("incoming")).empty());
        const auto all = names_in(area("displaced"));
        EXPECT_EQ(all.size(), exchanged ? 2U : 1U);
        bool found = false;
        for (const auto &name : all)
            found = found || contents(area("displaced/") + name + "/note") == "new";
        EXPECT_TRUE(found);
        for (const auto &name : all)
            fs::remove_all(area("displaced/") + name);
        write("note", "new");
    }
}

TEST_P(TreeTest, RefusesWhatItCannotDo) {
    auto state = saved();
    state.place = "/etc";
    EXPECT_FALSE(provider_->check(state));
    EXPECT_FALSE(provider_->remove(state));
    EXPECT_FALSE(provider_->save("../evil"));
    const auto gone = saved("gone");
    fs::remove_all(gone.place);
    const auto checked = provider_->check(gone);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code(), ENOENT);
    fs::permissions(disk_->path(), fs::perms(0777));
    const auto unsafe = provider_->prepare();
    ASSERT_FALSE(unsafe);
    EXPECT_EQ(unsafe.error().code(), EPERM);
}

TEST_P(TreeTest, ADamagedCopyIsNeverBroughtBack) {
    if (GetParam().kind == TreeKind::tar || GetParam().kind == TreeKind::nilfs2)
        GTEST_SKIP() << "has no tree to be damaged in this way";
    const auto state = saved();
    write("note", "new");
    ASSERT_OK(write_file(state.place + "/tree/note", "longer than it was"));
    EXPECT_FALSE(provider_->roll_back(state));
    EXPECT_EQ(note(), "new");
    EXPECT_TRUE(names_in(area("incoming")).empty());
}

TEST_P(TreeTest, AHomeWithoutRoomForACopyIsRefusedBeforeTheFreeze) {
    if (shares_data())
        GTEST_SKIP() << "a copy takes no space";
    if (std::string(GetParam().disk) == "tmpfs")
        GTEST_SKIP() << "as large as the memory";
    const auto free = fs::space(disk_->path()).free;
    write("large", "");
    const auto file = open_file(home_ + "/large", O_WRONLY);
    ASSERT_TRUE(file);
    ASSERT_EQ(::fallocate(file->get(), 0, 0, static_cast<off_t>(free / 3 * 2)), 0);
    const auto prepared = provider_->prepare();
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().code(), ENOSPC) << prepared.error().message();
}

// As on file systems that cannot exchange two directories in one step.
bool without_exchange() {
    constexpr uint32_t error = SECCOMP_RET_ERRNO | EINVAL;
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 4 * sizeof(uint64_t)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, RENAME_EXCHANGE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {.len = std::size(code), .filter = code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_P(TreeTest, WhereDirectoriesCannotBeExchangedAKillLeavesAHomeThatIsFound) {
    const auto state = saved();
    write("note", "new");
    for (const std::string step : {"home away", "other in place", "exchanged", "displaced"}) {
        SCOPED_TRACE(step);
        killed_after(step, [&](Provider &provider) {
            if (without_exchange())
                (void)provider.roll_back(state);
        });
        EXPECT_EQ(fs::exists(home_), step != "home away");
        ASSERT_OK(make_provider(state.provider, home_));
        EXPECT_EQ(note(), step == "home away" ? "new" : "old");
        const auto displaced = rolled_back(state);
        EXPECT_EQ(note(), "old");
        EXPECT_TRUE(names_in(area("incoming")).empty());
        bool found = false;
        for (const auto &name : names_in(area("displaced"))) {
            found = found || contents(area("displaced/") + name + "/note") == "new";
            fs::remove_all(area("displaced/") + name);
        }
        EXPECT_TRUE(found);
        write("note", "new");
    }
    const auto displaced = rolled_back(state);
    for (const std::string step : {"home away", "other in place", "undo exchanged"}) {
        SCOPED_TRACE(step);
        killed_after(step, [&](Provider &provider) {
            if (without_exchange())
                (void)provider.undo(displaced);
        });
        ASSERT_OK(make_provider(state.provider, home_));
        EXPECT_EQ(note(), step == "home away" ? "old" : "new");
        ASSERT_OK(provider_->undo(displaced));
        EXPECT_EQ(note(), "new");
        if (step == "undo exchanged")
            break;
        fs::remove_all(area("displaced"));
        const auto again = rolled_back(state);
        fs::rename(again.place, displaced.place);
    }
}

TEST_P(TreeTest, ASnapshotOfTheFileSystemGoesWithItsCheckpoint) {
    if (GetParam().kind != TreeKind::nilfs2)
        GTEST_SKIP() << "there is none";
    const auto kept = [&](uint64_t number) {
        return is_kept_checkpoint(open_directory(AT_FDCWD, home_).value(), number).value();
    };
    const auto one = saved("one");
    const auto number = checkpoint_in(one.place).value_or(0);
    EXPECT_TRUE(kept(number));
    ASSERT_OK(release_checkpoint(open_directory(AT_FDCWD, home_).value(), number));
    EXPECT_EQ(provider_->check(one).error().code(), ENOENT) << "given up by another tool";
    ASSERT_OK(provider_->remove(one));
    EXPECT_TRUE(names_in(area("snapshots")).empty());
    const auto two = saved("two");
    const auto next = checkpoint_in(two.place).value_or(0);
    EXPECT_NE(next, number);
    ASSERT_OK(provider_->remove(two));
    EXPECT_FALSE(kept(next));
    killed_after("copied", [](Provider &provider) {
        (void)provider.prepare();
        (void)provider.save("killed");
    });
    const auto left = checkpoint_in(area("snapshots/") + *names_in(area("snapshots")).begin()).value_or(0);
    EXPECT_TRUE(kept(left));
    ASSERT_OK(provider_->discard("killed"));
    EXPECT_FALSE(kept(left));
}

INSTANTIATE_TEST_SUITE_P(Ways, TreeTest,
                         testing::Values(Way{"nilfs2", TreeKind::nilfs2}, Way{"ext4", TreeKind::rsync},
                                         Way{"ext4", TreeKind::tar}, Way{"xfs", TreeKind::reflink},
                                         Way{"xfs", TreeKind::rsync}, Way{"btrfs", TreeKind::reflink},
                                         Way{"tmpfs", TreeKind::rsync}, Way{"tmpfs", TreeKind::tar}),
                         [](const auto &way) {
                             return std::string(way.param.disk) + "_" + std::string(name_of(way.param.kind));
                         });

// What is written to right after the copy has the time that it had before.
TEST(TreeTimes, WhatChangesInTheSecondOfTheCopyIsSaved) {
    const test::Disk disk("ext4 with whole seconds");
    if (disk.path().empty())
        GTEST_SKIP() << disk.why_not();
    for (const auto kind : {TreeKind::rsync, TreeKind::tar}) {
        SCOPED_TRACE(name_of(kind));
        const auto home = fmt::format("{}/{}", disk.path(), name_of(kind));
        const auto note = home + "/note";
        fs::create_directory(home);
        ASSERT_OK(write_file(note, "old"));
        ASSERT_EQ(status_of(note).st_ctim.tv_nsec, 0);
        const auto provider = make_tree_provider(kind, home);
        ASSERT_OK(provider->prepare());
        ASSERT_OK(write_file(note, "odd"));
        const auto state = provider->save(std::string(name_of(kind)));
        ASSERT_OK(state);
        ASSERT_OK(write_file(note, "lost"));
        ASSERT_OK(provider->roll_back(*state));
        EXPECT_EQ(contents(note), "odd");
    }
}

TEST(Reflink, IsFoundWhereItIsPossible) {
    for (const auto &[type, possible] : {std::pair("xfs", true), {"btrfs", true}, {"ext4", false}, {"tmpfs", false}}) {
        const test::Disk disk(type);
        if (disk.path().empty())
            GTEST_SKIP() << disk.why_not();
        fs::create_directory(disk.path() + "/ada");
        EXPECT_EQ(can_reflink(disk.path() + "/ada"), possible) << type;
    }
}

} // namespace
} // namespace abey::snapshot
