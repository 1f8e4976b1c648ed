// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Snapshots of btrfs homes in a directory of the administrator's choice, and where snapper looks for its own. Needs
// root.
#include "snapshot/btrfs.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "snapshot/place.h"

#include <csignal>
#include <functional>

#include <btrfsutil.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

class PlaceTest : public testing::Test {
  protected:
    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        home_ = disk_.path() + "/ada";
        ASSERT_EQ(btrfs_util_create_subvolume(home_.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        write("old");
        place_.directory = disk_.path() + "/states";
    }
    void write(const std::string &data) const { ASSERT_TRUE(write_file(home_ + "/note", data)); }
    [[nodiscard]] std::string note() const { return read_file(home_ + "/note").value_or("(none)"); }
    [[nodiscard]] std::unique_ptr<Provider> provider() const {
        return make_provider("btrfs", home_, {}, place_).value();
    }
    // Of those who come later, and do not know the policy of that time.
    [[nodiscard]] std::unique_ptr<Provider> later() const { return make_provider("btrfs", home_).value(); }
    [[nodiscard]] std::string link(const std::string &id) const { return disk_.path() + "/.abeyance/snapshots/" + id; }
    Saved save(const std::string &id) {
        const auto home = provider();
        const auto prepared = home->prepare();
        EXPECT_TRUE(prepared) << prepared.error().message();
        auto saved = home->save(id);
        EXPECT_TRUE(saved) << saved.error().message();
        return saved.value_or(Saved{});
    }
    [[nodiscard]] std::string refusal() const {
        const auto home = provider();
        const auto foretold = home->foretell();
        const auto prepared = home->prepare();
        EXPECT_EQ(foretold.has_value(), prepared.has_value());
        return prepared ? "" : prepared.error().message();
    }
    void save_killed_after(const std::string &step, const std::string &id) {
        const auto child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const auto home = make_btrfs(home_, place_, [&step](std::string_view done) {
                if (done == step)
                    ::kill(::getpid(), SIGKILL);
            });
            (void)home->save(id);
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "there is no step " << step;
    }

    test::Disk disk_{"btrfs"};
    std::string home_;
    SnapshotPlace place_;
};

TEST_F(PlaceTest, SnapshotsLieWhereThePolicySays) {
    place_.name = "abeyance-{home}-{id}";
    const auto saved = save("one");
    EXPECT_EQ(saved.place, disk_.path() + "/states/abeyance-ada-one");
    EXPECT_EQ(read_file(saved.place + "/note").value_or(""), "old");
    struct stat status {};
    ASSERT_EQ(::stat(place_.directory.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700U);
    write("newer");
    const auto home = later();
    EXPECT_TRUE(home->diverged(saved).value_or(false));
    EXPECT_EQ(home->changes(saved, 9).value_or(std::vector<Change>()).size(), 1U);
    const auto displaced = home->roll_back(saved);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(note(), "old");
    EXPECT_TRUE(displaced->place.ends_with("-one")) << displaced->place;
    const auto undone = home->undo(*displaced);
    ASSERT_TRUE(undone) << undone.error().message();
    EXPECT_EQ(note(), "newer");
    EXPECT_TRUE(fs::is_empty(disk_.path() + "/.abeyance/displaced")); // it could be told that nothing was changed
    ASSERT_TRUE(home->remove(saved));
    EXPECT_TRUE(fs::is_empty(place_.directory));
    EXPECT_FALSE(fs::is_symlink(link("one")));
    EXPECT_TRUE(home->remove(saved));
}

TEST_F(PlaceTest, TakenNamesAreLeftAlone) {
    place_.name = "{time}";
    const auto first = save("one");
    place_.name = fs::path(first.place).filename();
    const auto second = save("two");
    EXPECT_EQ(second.place, first.place + "-2");
    ASSERT_TRUE(later()->remove(first));
    EXPECT_TRUE(later()->check(second));
}

TEST_F(PlaceTest, SnapperFindsThemInItsOwnLayout) {
    place_ = {.directory = disk_.path() + "/snapper-{home}", .name = "suspended-{home}-{id}", .snapper = true};
    const auto first = save("one");
    const auto second = save("two");
    const auto all = disk_.path() + "/snapper-ada/.snapshots";
    EXPECT_EQ(first.place, all + "/1/snapshot");
    EXPECT_EQ(second.place, all + "/2/snapshot");
    EXPECT_EQ(btrfs_util_is_subvolume(all.c_str()), BTRFS_UTIL_OK);
    EXPECT_EQ(btrfs_util_is_subvolume(fs::path(all).parent_path().c_str()), BTRFS_UTIL_OK);
    const auto info = read_file(all + "/2/info.xml").value_or("");
    for (const auto *part : {"<num>2</num>", "<description>suspended-ada-two</description>", "<value>two</value>"})
        EXPECT_NE(info.find(part), std::string::npos) << info;
    ASSERT_TRUE(later()->remove(first));
    EXPECT_FALSE(fs::exists(all + "/1"));
    EXPECT_EQ(save("three").place, all + "/3/snapshot");
}

TEST_F(PlaceTest, TellsWhomTheDirectoryLetsIn) {
    const auto told = [&] { return provider()->foretell().value_or("refused"); };
    EXPECT_EQ(told(), "");
    for (const bool snapper : {false, true}) {
        place_.directory = disk_.path() + (snapper ? "/snapper" : "/states");
        place_.snapper = snapper;
        (void)save("one");
        ASSERT_EQ(::chown(home_.c_str(), 4240, 4240), 0);
        const auto closed = place_.directory + (snapper ? "/.snapshots" : "");
        EXPECT_EQ(told(), "");
        ASSERT_EQ(::chown(closed.c_str(), 0, 4241), 0);
        ASSERT_EQ(::chmod(closed.c_str(), 0750), 0);
        EXPECT_NE(told().find(closed + " lets others than root and the home's owner in: group 4241."),
                  std::string::npos)
            << told();
        ASSERT_TRUE(test::run({"setfacl", "-m", "u:4240:rx,u:4242:rx,g:4243:x,u:4244:---,g::---", closed}));
        EXPECT_NE(told().find("in: user 4242, group 4243."), std::string::npos) << told();
        ASSERT_TRUE(test::run({"setfacl", "-m", "m::---", closed}));
        EXPECT_EQ(told(), "");
        ASSERT_EQ(::chmod(closed.c_str(), 0755), 0);
        EXPECT_NE(refusal().find("chmod o-rwx it"), std::string::npos) << refusal();
        ASSERT_EQ(::chmod(closed.c_str(), 0700), 0);
        ASSERT_TRUE(later()->discard("one"));
    }
}

// btrfs subvolume delete, snapper delete.
TEST_F(PlaceTest, DeletedByOtherToolsIsToldAndHarmsNothing) {
    for (const bool snapper : {false, true}) {
        place_.directory = disk_.path() + (snapper ? "/snapper" : "/states");
        place_.snapper = snapper;
        const auto saved = save("one");
        write("newer");
        ASSERT_EQ(btrfs_util_delete_subvolume(saved.place.c_str(), 0), BTRFS_UTIL_OK);
        const auto home = later();
        for (const auto &error : {home->check(saved).error(), home->diverged(saved).error(),
                                  home->changes(saved, 1).error(), home->roll_back(saved).error()}) {
            EXPECT_NE(error.message().find(saved.place + " is gone"), std::string::npos) << error.message();
            EXPECT_NE(error.message().find("--on-divergence=keep"), std::string::npos) << error.message();
        }
        EXPECT_EQ(note(), "newer");
        // Its name has been given to another since.
        if (snapper)
            fs::remove(fs::path(saved.place).parent_path() / "info.xml");
        ASSERT_EQ(btrfs_util_create_subvolume(saved.place.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        EXPECT_FALSE(home->check(saved));
        const auto left = home->remove(saved);
        ASSERT_TRUE(left) << left.error().message();
        EXPECT_EQ(left->find(saved.place + " is not the snapshot") != std::string::npos, !snapper) << *left;
        EXPECT_EQ(btrfs_util_is_subvolume(saved.place.c_str()), BTRFS_UTIL_OK);
        ASSERT_EQ(btrfs_util_delete_subvolume(saved.place.c_str(), 0), BTRFS_UTIL_OK);
        ASSERT_TRUE(home->remove(saved));
        EXPECT_FALSE(fs::is_symlink(link("one")));
    }
}

TEST_F(PlaceTest, KilledAnywhereItIsFoundAndDiscarded) {
    for (const bool snapper : {false, true}) {
        place_.directory = disk_.path() + (snapper ? "/snapper" : "/states");
        place_.snapper = snapper;
        for (const auto *step : {"place noted", "snapshot made"}) {
            save_killed_after(step, "one");
            EXPECT_TRUE(fs::is_symlink(link("one")));
            const auto discarded = later()->discard("one");
            ASSERT_TRUE(discarded) << discarded.error().message();
            EXPECT_FALSE(fs::is_symlink(link("one")));
            EXPECT_TRUE(fs::is_empty(place_.directory + (snapper ? "/.snapshots" : ""))) << step;
        }
    }
}

TEST_F(PlaceTest, APlaceThatIsNotSafeIsRefusedBeforehand) {
    place_.directory = home_ + "/states";
    EXPECT_NE(refusal().find("is in home"), std::string::npos);
    place_.directory = disk_.base() + "/elsewhere";
    EXPECT_NE(refusal().find("not on the file system"), std::string::npos);
    place_.directory = disk_.path() + "/no/such";
    EXPECT_NE(refusal().find("snapshot-directory"), std::string::npos);
    place_.directory = disk_.path() + "/open";
    fs::create_directory(place_.directory);
    EXPECT_NE(refusal().find("chmod o-rwx"), std::string::npos);
    fs::permissions(place_.directory, fs::perms(0770));
    EXPECT_NE(refusal().find("others than root"), std::string::npos);
    fs::permissions(place_.directory, fs::perms(0700));
    EXPECT_EQ(refusal(), "");
    place_.snapper = true;
    EXPECT_NE(refusal().find("no subvolume"), std::string::npos);
}

} // namespace
} // namespace abey::snapshot
