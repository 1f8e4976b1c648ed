// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The btrfs provider on a file system of the test's own. Needs root.
#include "snapshot/btrfs.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "snapshot/none.h"

#include <csignal>
#include <functional>
#include <set>

#include <btrfsutil.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <sys/xattr.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

std::string contents(const std::string &path) { return read_file(path).value_or("(none)"); }

std::set<std::string> names_in(const std::string &path) {
    std::set<std::string> names;
    for (const auto &entry : fs::directory_iterator(path))
        names.insert(entry.path().filename());
    return names;
}

class BtrfsTest : public testing::Test {
  protected:
    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        home_ = disk_.path() + "/ada";
        ASSERT_EQ(btrfs_util_create_subvolume(home_.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        write("note", "old");
        provider_ = make_btrfs(home_);
    }
    void write(const std::string &name, const std::string &data) const {
        const auto written = write_file(home_ + "/" + name, data);
        ASSERT_TRUE(written) << written.error().message();
    }
    [[nodiscard]] std::string note() const { return contents(home_ + "/note"); }
    [[nodiscard]] std::string area(const std::string &name) const { return disk_.path() + "/.abeyance/" + name; }
    [[nodiscard]] Saved saved() {
        const auto prepared = provider_->prepare();
        EXPECT_TRUE(prepared) << prepared.error().message();
        auto saved = provider_->save("one");
        EXPECT_TRUE(saved) << saved.error().message();
        return saved.value_or(Saved{});
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
            const auto provider = make_btrfs(home_, {}, [&step](std::string_view done) {
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

    test::Disk disk_{"btrfs"};
    std::string home_;
    std::unique_ptr<Provider> provider_;
};

TEST_F(BtrfsTest, KeepsDirtyDataAndIsReadOnly) {
    const std::string large(8U << 20U, 'x');
    ASSERT_TRUE(provider_->prepare());
    write("large", large); // dirty when save() comes
    const auto saved = provider_->save("one");
    ASSERT_TRUE(saved) << saved.error().message();
    EXPECT_EQ(saved->provider, "btrfs");
    EXPECT_EQ(saved->home, home_);
    EXPECT_EQ(contents(saved->place + "/large"), large);
    EXPECT_EQ(contents(saved->place + "/note"), "old");
    EXPECT_EQ(::open((saved->place + "/new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
    EXPECT_EQ(errno, EROFS);
    struct stat status {};
    ASSERT_EQ(::stat(area("snapshots").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700U);
}

TEST_F(BtrfsTest, ChangesAreToldFromNone) {
    const auto first = saved();
    EXPECT_FALSE(diverged(first));
    write("note", "new"); // same size
    EXPECT_TRUE(diverged(first));
}

TEST_F(BtrfsTest, EachKindOfChangeIsSeen) {
    write("other", "x");
    const auto path = home_ + "/note";
    const std::vector<std::pair<std::string, std::function<void()>>> changes = {
        {"a new file", [&] { write("new", ""); }},
        {"a removed file", [&] { fs::remove(home_ + "/other"); }},
        {"a rename", [&] { fs::rename(path, home_ + "/renamed"); }},
        {"a mode", [&] { fs::permissions(home_ + "/renamed", fs::perms(0640)); }},
        {"an attribute", [&] { ASSERT_EQ(::setxattr((home_ + "/renamed").c_str(), "user.a", "b", 1, 0), 0); }},
        {"the home's own mode", [&] { fs::permissions(home_, fs::perms(0711)); }},
        {"a truncated file", [&] { fs::resize_file(home_ + "/renamed", 1); }},
        {"a link", [&] { fs::create_hard_link(home_ + "/renamed", home_ + "/link"); }},
        {"a subvolume in the home",
         [&] { ASSERT_EQ(btrfs_util_create_subvolume((home_ + "/sub").c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK); }},
    };
    int number = 0;
    for (const auto &[what, change] : changes) {
        const auto before = provider_->save(std::to_string(++number));
        ASSERT_TRUE(before) << before.error().message();
        EXPECT_FALSE(diverged(*before)) << "before " << what;
        change();
        EXPECT_TRUE(diverged(*before)) << what;
    }
}

TEST_F(BtrfsTest, ChangesWithinTheClockTickOfTheSnapshotAreSeen) {
    for (int number = 0; number < 30; ++number) {
        write("note", std::to_string(number)); // ctime: the present tick
        const auto before = provider_->save(std::to_string(number));
        ASSERT_TRUE(before) << before.error().message();
        ASSERT_FALSE(diverged(*before)) << number;
        const auto value = std::to_string(number);
        ASSERT_EQ(::setxattr((home_ + "/note").c_str(), "user.a", value.data(), value.size(), 0), 0);
        ASSERT_TRUE(diverged(*before)) << number;
    }
}

TEST_F(BtrfsTest, ReadingAndTheEndOfDeletedFilesAreNoChange) {
    auto held = open_file(home_ + "/deleted", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(held);
    ASSERT_TRUE(write_all(*held, "x"));
    fs::remove(home_ + "/deleted");
    const auto still_held = open_file(home_ + "/still", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(still_held);
    fs::remove(home_ + "/still");
    const auto first = saved();
    held->reset();                            // its inode goes now
    ASSERT_TRUE(write_all(*still_held, "y")); // seen by those only who hold it
    EXPECT_EQ(note(), "old");                 // its access time is changed (relatime)
    EXPECT_FALSE(diverged(first));
}

TEST_F(BtrfsTest, RollsBackAndKeepsWhatWas) {
    const auto first = saved();
    const auto held = open_file(home_ + "/note", O_RDWR);
    ASSERT_TRUE(held);
    struct stat before {};
    ASSERT_EQ(::stat((home_ + "/note").c_str(), &before), 0);
    write("note", "newer");
    ASSERT_TRUE(provider_->check(first));
    const auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(note(), "old");
    EXPECT_EQ(contents(displaced->place + "/note"), "newer");
    struct stat after {};
    ASSERT_EQ(::stat((home_ + "/note").c_str(), &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    write("more", "writable");
    // Who had the file open goes on with the displaced one.
    ASSERT_TRUE(write_all(*held, "NEWER"));
    EXPECT_EQ(contents(displaced->place + "/note"), "NEWER");
    EXPECT_EQ(note(), "old");
    EXPECT_TRUE(names_in(area("incoming")).empty());
    EXPECT_TRUE(diverged(first)); // "more"
}

TEST_F(BtrfsTest, IsTheSavedStateRightAfterARollBack) {
    const auto first = saved();
    write("note", "new");
    ASSERT_TRUE(provider_->roll_back(first));
    EXPECT_FALSE(diverged(first));
    write("note", "new");
    EXPECT_TRUE(diverged(first));
}

TEST_F(BtrfsTest, UndoPutsEverythingBack) {
    const auto first = saved();
    write("note", "newer");
    const auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced);
    const auto undone = provider_->undo(*displaced);
    ASSERT_TRUE(undone) << undone.error().message();
    EXPECT_EQ(note(), "newer");
    EXPECT_TRUE(names_in(area("incoming")).empty());
    EXPECT_TRUE(names_in(area("displaced")).empty());
    const auto again = provider_->roll_back(first);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(note(), "old");
}

// A resume takes minutes when there is much to read; its user may be at work in another login, and it may fail.
TEST_F(BtrfsTest, UndoKeepsWhatWasDoneMeanwhile) {
    const auto first = saved();
    write("note", "newer");
    for (const bool killed : {false, true}) {
        const auto displaced = provider_->roll_back(first);
        ASSERT_TRUE(displaced);
        write("note", "old, and more");
        if (killed)
            killed_after("undo exchanged", [&](Provider &provider) { (void)provider.undo(*displaced); });
        const auto undone = provider_->undo(*displaced);
        ASSERT_TRUE(undone) << undone.error().message();
        EXPECT_EQ(note(), "newer");
        EXPECT_TRUE(names_in(area("incoming")).empty());
        const auto kept = names_in(area("displaced"));
        ASSERT_EQ(kept.size(), 1U) << killed;
        EXPECT_EQ(contents(area("displaced/") + *kept.begin() + "/note"), "old, and more");
        ASSERT_EQ(btrfs_util_delete_subvolume((area("displaced/") + *kept.begin()).c_str(), 0), BTRFS_UTIL_OK);
    }
}

TEST_F(BtrfsTest, UndoMindsNoFilesThatHaveGoneAgain) {
    const auto first = saved();
    const auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced);
    write("passing", "x"); // as a resume does for deleted files
    const auto held = open_file(home_ + "/passing", O_RDONLY);
    fs::remove(home_ + "/passing");
    ASSERT_TRUE(provider_->undo(*displaced));
    EXPECT_TRUE(names_in(area("displaced")).empty());
}

TEST_F(BtrfsTest, RollBackKilledAnywhereLosesNothing) {
    const auto first = saved();
    write("note", "newer");
    for (const auto *step : {"copy made", "copy named"}) {
        killed_after(step, [&](Provider &provider) { (void)provider.roll_back(first); });
        EXPECT_EQ(note(), "newer") << step;
    }
    for (const auto *step : {"exchanged", "displaced"}) {
        write("note", step);
        killed_after(step, [&](Provider &provider) { (void)provider.roll_back(first); });
        EXPECT_EQ(note(), "old") << step;
    }
    ASSERT_TRUE(provider_->prepare()); // whoever comes next cleans up
    EXPECT_TRUE(names_in(area("incoming")).empty());
    std::set<std::string> kept;
    for (const auto &name : names_in(area("displaced")))
        kept.insert(contents(area("displaced/") + name + "/note"));
    EXPECT_EQ(kept, (std::set<std::string>{"exchanged", "displaced"}));
}

TEST_F(BtrfsTest, UndoKilledAnywhereLosesNothing) {
    const auto first = saved();
    write("note", "newer");
    auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced);
    killed_after("undo named", [&](Provider &provider) { (void)provider.undo(*displaced); });
    EXPECT_EQ(note(), "old");
    killed_after("undo exchanged", [&](Provider &provider) { (void)provider.undo(*displaced); });
    EXPECT_EQ(note(), "newer");
    const auto again = provider_->undo(*displaced); // whoever comes next does not know how far it came
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_TRUE(names_in(area("incoming")).empty());
    EXPECT_TRUE(names_in(area("displaced")).empty());
    EXPECT_EQ(note(), "newer");
}

TEST_F(BtrfsTest, RemovesWhatItSavedAndNothingElse) {
    const auto first = saved();
    auto other = first;
    other.snapshot = first.source;
    EXPECT_FALSE(provider_->check(other));
    const auto left = provider_->remove(other);
    ASSERT_TRUE(left) << left.error().message();
    EXPECT_NE(left->find(first.place + " is not the snapshot that checkpoint one made"), std::string::npos) << *left;
    other = first;
    other.place = home_;
    EXPECT_FALSE(provider_->remove(other));
    EXPECT_TRUE(fs::exists(first.place));
    EXPECT_EQ(provider_->remove(first).value_or("an error"), "");
    EXPECT_FALSE(fs::exists(first.place));
    EXPECT_TRUE(provider_->remove(first));
    const auto checked = provider_->check(first);
    ASSERT_FALSE(checked);
    EXPECT_NE(checked.error().message().find("is gone"), std::string::npos) << checked.error().message();
}

TEST_F(BtrfsTest, RemovesTheRestOfASnapshotThatOtherToolsHaveReplaced) {
    for (const bool subvolume : {true, false}) {
        const auto first = saved();
        ASSERT_EQ(btrfs_util_delete_subvolume(first.place.c_str(), 0), BTRFS_UTIL_OK);
        if (subvolume)
            ASSERT_EQ(btrfs_util_create_snapshot(home_.c_str(), first.place.c_str(), 0, nullptr, nullptr),
                      BTRFS_UTIL_OK);
        else
            fs::create_directory(first.place);
        const auto left = provider_->remove(first);
        ASSERT_TRUE(left) << left.error().message();
        EXPECT_NE(left->find("was left alone"), std::string::npos) << *left;
        EXPECT_TRUE(fs::exists(first.place));
        subvolume ? (void)btrfs_util_delete_subvolume(first.place.c_str(), 0) : (void)fs::remove(first.place);
        EXPECT_EQ(provider_->remove(first).value_or("an error"), "");
    }
}

TEST_F(BtrfsTest, DiscardsByIdAfterAKill) {
    killed_after("snapshot made", [&](Provider &provider) { (void)provider.save("two"); });
    EXPECT_TRUE(fs::exists(area("snapshots/two")));
    ASSERT_TRUE(provider_->discard("two"));
    EXPECT_FALSE(fs::exists(area("snapshots/two")));
    EXPECT_TRUE(provider_->discard("two"));
    EXPECT_FALSE(provider_->discard("../../ada"));
}

TEST_F(BtrfsTest, RefusesWhatIsNoSubvolume) {
    fs::create_directory(disk_.path() + "/bob");
    const auto directory = make_btrfs(disk_.path() + "/bob")->prepare();
    ASSERT_FALSE(directory);
    EXPECT_NE(directory.error().message().find("btrfs subvolume create"), std::string::npos);
    fs::create_directory(disk_.base() + "/bob");
    const auto elsewhere = make_btrfs(disk_.base() + "/bob")->prepare();
    ASSERT_FALSE(elsewhere);
    EXPECT_NE(elsewhere.error().message().find("is not on btrfs"), std::string::npos);
}

TEST_F(BtrfsTest, RefusesAMountPoint) {
    ASSERT_EQ(::mount(home_.c_str(), home_.c_str(), nullptr, MS_BIND, nullptr), 0);
    const auto prepared = provider_->prepare();
    EXPECT_EQ(::umount(home_.c_str()), 0);
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().code(), EBUSY);
}

TEST_F(BtrfsTest, RefusesAParentThatOthersMayWriteTo) {
    fs::permissions(disk_.path(), fs::perms(0777));
    const auto prepared = provider_->prepare();
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().code(), EPERM);
    fs::permissions(disk_.path(), fs::perms(0755));
    fs::create_directory(disk_.base() + "/mine");
    fs::create_directory_symlink(disk_.base() + "/mine", disk_.path() + "/.abeyance");
    EXPECT_FALSE(provider_->prepare());
    EXPECT_TRUE(names_in(disk_.base() + "/mine").empty());
}

TEST_F(BtrfsTest, ReadOnlyFileSystemIsRefusedAndUnharmed) {
    const auto first = saved();
    write("note", "newer");
    ASSERT_EQ(::mount(nullptr, disk_.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    const auto checked = provider_->check(first);
    const auto rolled_back = provider_->roll_back(first);
    ASSERT_EQ(::mount(nullptr, disk_.path().c_str(), nullptr, MS_REMOUNT, nullptr), 0);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code(), EROFS);
    ASSERT_FALSE(rolled_back);
    EXPECT_EQ(note(), "newer");
}

TEST_F(BtrfsTest, FullFileSystemKeepsAHome) {
    const auto first = saved();
    write("note", "newer");
    const auto fill = open_file(disk_.path() + "/fill", O_WRONLY | O_CREAT, 0600);
    ASSERT_TRUE(fill);
    const std::string block(1U << 20U, 'f');
    while (write_all(*fill, block)) {
    }
    (void)::fsync(fill->get());
    // btrfs may still have room for metadata: either way is right, half-way is not.
    const auto rolled_back = provider_->roll_back(first);
    EXPECT_EQ(note(), rolled_back ? "old" : "newer");
    fs::remove(disk_.path() + "/fill");
    const auto prepared = provider_->prepare();
    ASSERT_TRUE(prepared) << prepared.error().message();
    EXPECT_TRUE(names_in(area("incoming")).empty());
}

TEST_F(BtrfsTest, ChangesAreListedByPath) {
    fs::create_directories(home_ + "/dir/sub");
    write("dir/sub/goes", "12345");
    write("dir/moves", "x");
    write("same", "s");
    fs::create_directory(home_ + "/whole");
    write("whole/inside", "i");
    const auto first = saved();
    const auto none = provider_->changes(first, 100);
    ASSERT_TRUE(none) << none.error().message();
    EXPECT_TRUE(none->empty());
    write("note", "longer");
    write("dir/new\nname", "n");
    fs::remove(home_ + "/dir/sub/goes");
    fs::rename(home_ + "/dir/moves", home_ + "/moved");
    fs::remove_all(home_ + "/whole");
    const auto listed = [&](const Saved &saved) {
        std::set<std::pair<int, std::string>> found;
        for (const Change &change : provider_->changes(saved, 100).value_or(std::vector<Change>()))
            if (!S_ISDIR(change.mode) || change.kind != Change::Kind::changed)
                found.emplace(static_cast<int>(change.kind), change.path);
        return found;
    };
    constexpr int added = 0;
    constexpr int removed = 1;
    constexpr int changed = 2;
    EXPECT_EQ(listed(first), (std::set<std::pair<int, std::string>>{{changed, "note"},
                                                                    {added, "dir/new\nname"},
                                                                    {removed, "dir/sub/goes"},
                                                                    {removed, "dir/moves"},
                                                                    {changed, "moved"},
                                                                    {removed, "whole"}}));
    const auto some = provider_->changes(first, 2);
    ASSERT_TRUE(some);
    EXPECT_EQ(some->size(), 2U);
    ASSERT_TRUE(provider_->roll_back(first));
    EXPECT_TRUE(listed(first).empty());
    write("note", "again");
    EXPECT_EQ(listed(first), (std::set<std::pair<int, std::string>>{{changed, "note"}}));
}

TEST_F(BtrfsTest, AutoTakesWhatTheFileSystemAllows) {
    const auto in_subvolume = make_provider("auto", home_);
    ASSERT_TRUE(in_subvolume);
    const auto saved = (*in_subvolume)->save("one");
    ASSERT_TRUE(saved);
    EXPECT_EQ(saved->provider, "btrfs");
    fs::create_directory(disk_.path() + "/bob");
    const auto in_directory = make_provider("auto", disk_.path() + "/bob");
    ASSERT_TRUE(in_directory);
    ASSERT_TRUE((*in_directory)->prepare());
    EXPECT_EQ((*in_directory)->save("two")->provider, "reflink");
    fs::permissions(disk_.path(), fs::perms(01777)); // others could put something in the copy's place
    const auto unsafe = make_provider("auto", disk_.path() + "/bob");
    ASSERT_TRUE(unsafe);
    EXPECT_EQ((*unsafe)->save("three")->provider, "none");
}

TEST(ProviderTest, AutoTakesNoneForAHomeThatIsAMountPoint) {
    const test::Disk disk("ext4");
    if (disk.path().empty())
        GTEST_SKIP() << disk.why_not();
    const auto provider = make_provider("auto", disk.path());
    ASSERT_TRUE(provider);
    EXPECT_EQ((*provider)->save("one")->provider, "none");
    const auto wanted = make_provider("rsync", disk.path());
    ASSERT_TRUE(wanted);
    const auto prepared = (*wanted)->prepare();
    ASSERT_FALSE(prepared);
    EXPECT_EQ(prepared.error().code(), EBUSY);
}

TEST(ProviderTest, RefusesUnknownNamesAndRelativeHomes) {
    const auto unknown = make_provider("zfs", "/");
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().message().find("zfs"), std::string::npos);
    EXPECT_FALSE(make_provider("none", "home"));
    EXPECT_FALSE(make_provider("none", "/no/such/home"));
}

TEST(ProviderTest, NoneRollsNothingBack) {
    const auto none = make_none("/home/ada");
    const auto saved = none->save("one");
    ASSERT_TRUE(saved);
    EXPECT_FALSE(*none->diverged(*saved));
    EXPECT_FALSE(none->roll_back(*saved));
}

TEST(ProviderTest, NoneVerifiesChosenTrees) {
    const test::Disk disk("ext4");
    if (disk.path().empty())
        GTEST_SKIP() << disk.why_not();
    const auto home = disk.path() + "/ada";
    fs::create_directories(home + "/src/deep");
    ASSERT_TRUE(write_file(home + "/src/deep/file", "one"));
    ASSERT_TRUE(write_file(home + "/other", "x"));
    const auto none = make_none(home, {.trees = {"src", "not-yet"}, .contents = false});
    const auto saved = none->save("one");
    ASSERT_TRUE(saved) << saved.error().message();
    EXPECT_FALSE(none->diverged(*saved).value_or(true));
    EXPECT_TRUE(none->check(*saved));
    ASSERT_TRUE(write_file(home + "/other", "changed"));
    EXPECT_FALSE(none->diverged(*saved).value_or(true)); // nobody asked
    struct stat status {};
    ASSERT_EQ(::stat((home + "/src/deep/file").c_str(), &status), 0);
    const struct timespec set_back[2] = {{0, UTIME_OMIT}, status.st_mtim};
    ASSERT_TRUE(write_file(home + "/src/deep/file", "two"));
    ASSERT_EQ(::utimensat(AT_FDCWD, (home + "/src/deep/file").c_str(), set_back, 0), 0);
    EXPECT_TRUE(none->diverged(*saved).value_or(false));
    const auto checked = none->check(*saved);
    ASSERT_FALSE(checked);
    EXPECT_NE(checked.error().message().find("src/deep/file"), std::string::npos) << checked.error().message();
    ASSERT_TRUE(none->remove(*saved));
    EXPECT_FALSE(fs::exists(saved->place));
    const auto again = none->save("two");
    ASSERT_TRUE(again);
    fs::create_directory(home + "/not-yet");
    EXPECT_TRUE(none->diverged(*again).value_or(false));
    ASSERT_TRUE(none->discard("two"));
    EXPECT_FALSE(fs::exists(again->place));
}

} // namespace
} // namespace abey::snapshot
