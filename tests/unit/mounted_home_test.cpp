// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The btrfs provider for homes that are mount points, and for homes that hold other subvolumes. Needs root.
#include "snapshot/mounted_btrfs.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "engine/os/mounts.h"

#include <algorithm>
#include <csignal>
#include <set>

#include <btrfsutil.h>
#include <gtest/gtest.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

std::string text_in(const std::string &path) { return read_file(path).value_or("(none)"); }

std::set<std::string> listed(const std::string &path) {
    std::set<std::string> names;
    for (const auto &entry : fs::directory_iterator(path))
        names.insert(entry.path().filename());
    return names;
}

std::vector<os::MountEntry> mounts() { return os::own_mounts().value_or(std::vector<os::MountEntry>()); }

void put(const std::string &path, const std::string &data) {
    const auto written = write_file(path, data);
    ASSERT_TRUE(written) << written.error().message();
}

// move_mount(2), MOVE_MOUNT_BENEATH: Linux 6.5.
bool mounts_beneath() {
    utsname name{};
    ::uname(&name);
    int major = 0;
    int minor = 0;
    return std::sscanf(name.release, "%d.%d", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 5));
}

class MountedHomeTest : public testing::Test {
  protected:
    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        fs::create_directory(disk_.path() + "/users");
        const auto subvolume = disk_.path() + "/users/@ada";
        ASSERT_EQ(btrfs_util_create_subvolume(subvolume.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        home_ = disk_.base() + "/ada";
        fs::create_directory(home_);
        for (const auto &mount : mounts())
            if (mount.point == disk_.path())
                source_ = mount.source;
        ASSERT_EQ(::mount(source_.c_str(), home_.c_str(), "btrfs", MS_NOSUID | MS_NODEV, "subvol=users/@ada"), 0);
        note("old");
        ::umask(077); // as the workers have it
        provider_ = make();
    }
    void TearDown() override {
        ::umask(022);
        provider_.reset();
        if (disk_.path().empty())
            return;
        for (const auto &mount : mounts())
            if (mount.point.starts_with(disk_.base() + "/") && mount.point != disk_.path())
                ::umount2(mount.point.c_str(), MNT_DETACH);
    }
    [[nodiscard]] std::unique_ptr<Provider> make(StepDone done = {}) const {
        return make_mounted_btrfs(home_, {}, std::move(done), disk_.base() + "/shown");
    }
    void note(const std::string &data) const { put(home_ + "/note", data); }
    [[nodiscard]] std::string note() const { return text_in(home_ + "/note"); }
    [[nodiscard]] Saved saved() {
        const auto prepared = provider_->prepare();
        EXPECT_TRUE(prepared) << prepared.error().message();
        auto saved = provider_->save("one");
        EXPECT_TRUE(saved) << saved.error().message();
        return saved.value_or(Saved{});
    }
    [[nodiscard]] std::string area() const { return disk_.path() + "/users/.abeyance"; }
    template <class Work> void killed_after(const std::string &step, Work work) {
        provider_.reset();
        const auto child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const auto provider = make([&step](std::string_view done) {
                if (done == step)
                    ::kill(::getpid(), SIGKILL);
            });
            work(*provider);
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "there is no step " << step;
        provider_ = make();
    }

    test::Disk disk_{"btrfs"};
    std::string home_, source_;
    std::unique_ptr<Provider> provider_;
};

TEST_F(MountedHomeTest, RollsBackAndRenewsTheMount) {
    const auto first = saved();
    EXPECT_EQ(first.home, home_);
    EXPECT_TRUE(first.place.starts_with(disk_.base() + "/shown/")) << first.place;
    EXPECT_FALSE(provider_->diverged(first).value_or(true));
    note("newer");
    EXPECT_TRUE(provider_->diverged(first).value_or(false));
    const auto held = open_file(home_ + "/note", O_RDWR);
    ASSERT_TRUE(held);
    ASSERT_TRUE(provider_->check(first));
    EXPECT_EQ(text_in(provider_->view(first) + "/note"), "old");
    const auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(note(), "old");
    EXPECT_EQ(displaced->home, home_);
    EXPECT_EQ(text_in(displaced->place + "/note"), "newer");
    struct stat shown {};
    ASSERT_EQ(::stat((disk_.base() + "/shown").c_str(), &shown), 0);
    EXPECT_EQ(shown.st_mode & 07777, 0711U); // under any umask
    ASSERT_TRUE(write_all(*held, "NEWER"));  // whoever had it open goes on with the displaced one
    EXPECT_EQ(text_in(displaced->place + "/note"), "NEWER");
    // What the next boot will mount, and how.
    EXPECT_EQ(text_in(disk_.path() + "/users/@ada/note"), "old");
    struct statvfs status {};
    ASSERT_EQ(::statvfs(home_.c_str(), &status), 0);
    EXPECT_EQ(status.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_RDONLY),
              static_cast<unsigned long>(ST_NOSUID | ST_NODEV));
    size_t count = 0;
    for (const auto &mount : mounts())
        count += mount.point == home_ ? 1 : 0;
    EXPECT_EQ(count, mounts_beneath() ? 1U : 2U) << "the former mount lies beneath the new one";
    EXPECT_FALSE(provider_->diverged(first).value_or(true));
    note("again");
    EXPECT_TRUE(provider_->diverged(first).value_or(false));
    // Nothing else of ours stays mounted.
    provider_.reset();
    auto lock = home_ + ".home";
    std::ranges::replace(lock, '/', ':');
    EXPECT_EQ(listed(disk_.base() + "/shown/private"), std::set<std::string>{lock});
}

TEST_F(MountedHomeTest, UndoPutsEverythingBack) {
    const auto first = saved();
    note("newer");
    const auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced) << displaced.error().message();
    const auto undone = provider_->undo(*displaced);
    ASSERT_TRUE(undone) << undone.error().message();
    EXPECT_EQ(note(), "newer");
    EXPECT_EQ(text_in(disk_.path() + "/users/@ada/note"), "newer");
    EXPECT_TRUE(listed(area() + "/incoming").empty());
    EXPECT_TRUE(listed(area() + "/displaced").empty());
}

TEST_F(MountedHomeTest, KilledAnywhereTheMountShowsTheHome) {
    const auto first = saved();
    for (const std::string step :
         {"copy made", "copy named", "exchanged", "displaced", "exchanged beneath the mount"}) {
        note("newer");
        killed_after(step, [&](Provider &home) { (void)home.roll_back(first); });
        EXPECT_EQ(note(), "newer") << step;
        note("after the kill");
        ASSERT_TRUE(provider_->prepare()) << step;
        EXPECT_EQ(note(), "after the kill") << step;
        EXPECT_EQ(text_in(disk_.path() + "/users/@ada/note"), "after the kill") << step;
        EXPECT_TRUE(listed(area() + "/incoming").empty()) << step;
    }
    note("newer");
    auto displaced = provider_->roll_back(first);
    ASSERT_TRUE(displaced);
    for (const std::string step : {"undo named", "undo exchanged", "undone beneath the mount"}) {
        killed_after(step, [&](Provider &home) { (void)home.undo(*displaced); });
        const auto undone = provider_->undo(*displaced);
        ASSERT_TRUE(undone) << step << ": " << undone.error().message();
        EXPECT_EQ(note(), "newer") << step;
        EXPECT_EQ(text_in(disk_.path() + "/users/@ada/note"), "newer") << step;
        displaced = provider_->roll_back(first);
        ASSERT_TRUE(displaced) << step << ": " << displaced.error().message();
        EXPECT_EQ(note(), "old");
    }
}

TEST_F(MountedHomeTest, ACopyForOneSessionCanBeMounted) {
    const auto first = saved();
    note("newer");
    const auto place = provider_->copy_out(first);
    ASSERT_TRUE(place) << place.error().message();
    EXPECT_EQ(text_in(*place + "/note"), "old");
    EXPECT_EQ(note(), "newer");
    ASSERT_EQ(::mount(place->c_str(), home_.c_str(), nullptr, MS_BIND, nullptr), 0);
    struct statvfs status {};
    ASSERT_EQ(::statvfs(home_.c_str(), &status), 0);
    EXPECT_NE(status.f_flag & ST_NOSUID, 0U) << "the options of the home's mount";
    ASSERT_EQ(::umount(home_.c_str()), 0);
    ASSERT_TRUE(provider_->drop_copy(*place));
    EXPECT_FALSE(fs::exists(*place));
}

TEST_F(MountedHomeTest, AutoTakesItButNotAWholeFileSystem) {
    ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0); // this process's own
    fs::create_directory("/run/abeyance");
    auto home = make_provider("auto", home_);
    ASSERT_TRUE(home) << home.error().message();
    const auto saved = (*home)->save("one");
    ASSERT_TRUE(saved) << saved.error().message();
    EXPECT_EQ(saved->provider, "btrfs");
    ASSERT_TRUE((*home)->remove(*saved));
    (*home).reset();
    ASSERT_EQ(::umount2("/run", MNT_DETACH), 0);
    const auto whole = make_provider("auto", disk_.path());
    ASSERT_TRUE(whole);
    EXPECT_EQ((*whole)->save("two")->provider, "none");
    const auto prepared = make_mounted_btrfs(disk_.path(), {}, {}, disk_.base() + "/shown")->prepare();
    ASSERT_FALSE(prepared);
    EXPECT_NE(prepared.error().message().find("subvol="), std::string::npos) << prepared.error().message();
}

TEST_F(MountedHomeTest, AMountInTheHomeIsRefusedByName) {
    const auto first = saved();
    fs::create_directory(home_ + "/stick");
    ASSERT_EQ(::mount("tmpfs", (home_ + "/stick").c_str(), "tmpfs", 0, nullptr), 0);
    const auto checked = provider_->check(first);
    ASSERT_EQ(::umount((home_ + "/stick").c_str()), 0);
    ASSERT_FALSE(checked);
    EXPECT_NE(checked.error().message().find(home_ + "/stick"), std::string::npos) << checked.error().message();
}

TEST_F(MountedHomeTest, ErrorsNameTheHomeAsPeopleKnowIt) {
    const auto first = saved();
    ASSERT_TRUE(provider_->remove(first));
    const auto checked = provider_->check(first);
    ASSERT_FALSE(checked);
    EXPECT_NE(checked.error().message().find(first.place + " is gone"), std::string::npos) << checked.error().message();
    EXPECT_EQ(checked.error().message().find("/private/"), std::string::npos) << checked.error().message();
}

class NestedTest : public testing::Test {
  protected:
    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        home_ = disk_.path() + "/ada";
        for (const auto &path : {home_, home_ + "/box", home_ + "/box/deeper", home_ + "/frozen"})
            ASSERT_EQ(btrfs_util_create_subvolume(path.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        put(home_ + "/note", "old");
        put(home_ + "/box/inner", "old");
        put(home_ + "/box/deeper/innermost", "old");
        put(home_ + "/frozen/ice", "old");
        ASSERT_EQ(btrfs_util_set_subvolume_read_only((home_ + "/frozen").c_str(), true), BTRFS_UTIL_OK);
        provider_ = make_btrfs(home_);
    }
    [[nodiscard]] std::string area(const std::string &name) const { return disk_.path() + "/.abeyance/" + name; }

    test::Disk disk_{"btrfs"};
    std::string home_;
    std::unique_ptr<Provider> provider_;
};

TEST_F(NestedTest, AreSavedAndBroughtBackWithTheHome) {
    ASSERT_TRUE(provider_->prepare());
    const auto first = provider_->save("one");
    ASSERT_TRUE(first) << first.error().message();
    ASSERT_EQ(first->nested.size(), 3U);
    EXPECT_EQ(text_in(first->place + "/box/deeper/innermost"), "old");
    EXPECT_EQ(::open((first->place + "/box/new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
    EXPECT_EQ(errno, EROFS);
    EXPECT_FALSE(provider_->diverged(*first).value_or(true));
    struct stat before {};
    ASSERT_EQ(::stat((home_ + "/box/inner").c_str(), &before), 0);

    put(home_ + "/box/deeper/innermost", "newer");
    EXPECT_TRUE(provider_->diverged(*first).value_or(false));
    const auto changes = provider_->changes(*first, 100);
    ASSERT_TRUE(changes) << changes.error().message();
    ASSERT_EQ(changes->size(), 1U);
    EXPECT_EQ(changes->front().path, "box/deeper/innermost");

    const auto displaced = provider_->roll_back(*first);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(text_in(home_ + "/box/deeper/innermost"), "old");
    EXPECT_EQ(text_in(displaced->place + "/box/deeper/innermost"), "newer");
    struct stat after {};
    ASSERT_EQ(::stat((home_ + "/box/inner").c_str(), &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    put(home_ + "/box/inner", "writable");
    bool read_only = false;
    ASSERT_EQ(btrfs_util_get_subvolume_read_only((home_ + "/frozen").c_str(), &read_only), BTRFS_UTIL_OK);
    EXPECT_TRUE(read_only);
    EXPECT_TRUE(listed(area("incoming")).empty());
    ASSERT_TRUE(provider_->remove(*first));
    EXPECT_TRUE(listed(area("snapshots")).empty());
}

TEST_F(NestedTest, UndoTellsWhetherFilesInThemWereChanged) {
    const auto first = provider_->save("one");
    ASSERT_TRUE(first) << first.error().message();
    put(home_ + "/note", "newer");
    auto displaced = provider_->roll_back(*first);
    ASSERT_TRUE(displaced);
    EXPECT_FALSE(provider_->diverged(*first).value_or(true));
    ASSERT_TRUE(provider_->undo(*displaced));
    EXPECT_EQ(text_in(home_ + "/note"), "newer");
    EXPECT_TRUE(listed(area("displaced")).empty());
    displaced = provider_->roll_back(*first);
    ASSERT_TRUE(displaced);
    put(home_ + "/box/deeper/innermost", "of the rolled-back one");
    EXPECT_TRUE(provider_->diverged(*first).value_or(false));
    ASSERT_TRUE(provider_->undo(*displaced));
    ASSERT_EQ(listed(area("displaced")).size(), 1U);
    EXPECT_EQ(text_in(area("displaced") + "/" + *listed(area("displaced")).begin() + "/box/deeper/innermost"),
              "of the rolled-back one");
}

TEST_F(NestedTest, OnesThatCameOrWentAreAChange) {
    const auto first = provider_->save("one");
    ASSERT_TRUE(first);
    ASSERT_EQ(btrfs_util_create_subvolume((home_ + "/box/more").c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
    EXPECT_TRUE(provider_->diverged(*first).value_or(false));
    ASSERT_TRUE(provider_->roll_back(*first));
    EXPECT_FALSE(fs::exists(home_ + "/box/more"));
}

TEST_F(NestedTest, TooManyAreRefused) {
    for (int i = 0; i < 65; ++i)
        ASSERT_EQ(btrfs_util_create_subvolume(fmt::format("{}/{}", home_, i).c_str(), 0, nullptr, nullptr),
                  BTRFS_UTIL_OK);
    const auto prepared = provider_->prepare();
    ASSERT_FALSE(prepared);
    EXPECT_NE(prepared.error().message().find("more than 64"), std::string::npos) << prepared.error().message();
}

TEST_F(NestedTest, AReadOnlyHomeIsSavedAndBroughtBackAsOne) {
    ASSERT_EQ(btrfs_util_set_subvolume_read_only(home_.c_str(), true), BTRFS_UTIL_OK);
    ASSERT_TRUE(provider_->prepare());
    const auto first = provider_->save("one");
    ASSERT_TRUE(first) << first.error().message();
    EXPECT_FALSE(provider_->diverged(*first).value_or(true));
    ASSERT_EQ(btrfs_util_set_subvolume_read_only(home_.c_str(), false), BTRFS_UTIL_OK);
    put(home_ + "/note", "newer");
    ASSERT_EQ(btrfs_util_set_subvolume_read_only(home_.c_str(), true), BTRFS_UTIL_OK);
    const auto displaced = provider_->roll_back(*first);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(text_in(home_ + "/note"), "old");
    for (const auto &path : {home_, displaced->place}) {
        bool read_only = false;
        ASSERT_EQ(btrfs_util_get_subvolume_read_only(path.c_str(), &read_only), BTRFS_UTIL_OK);
        EXPECT_TRUE(read_only) << path;
    }
    ASSERT_TRUE(provider_->undo(*displaced));
    EXPECT_EQ(text_in(home_ + "/note"), "newer");
}

} // namespace
} // namespace abey::snapshot
