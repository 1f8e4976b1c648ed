// SPDX-License-Identifier: LGPL-2.1-or-later
#include "store/store.h"

#include "engine/os/fd.h"
#include "store/recorded_home.h"
#include "worker/worker.h"

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace abey::store {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
  protected:
    void SetUp() override {
        root_ = fs::temp_directory_path() / "abeyance-store-XXXXXX";
        ASSERT_NE(::mkdtemp(root_.data()), nullptr);
    }
    void TearDown() override { fs::remove_all(root_); }

    // What the engine does when it commits.
    void commit(const std::string &id) {
        fs::create_directory(store().images(id));
        ASSERT_TRUE(write_file(store().images(id) + "/manifest", "m"));
    }
    [[nodiscard]] Store store() const { return Store(root_); }
    [[nodiscard]] static About about(const std::string &id, uint64_t created = 1) {
        return {.id = id, .uid = 1000, .user = "ada", .home = "/home/ada", .session = "3", .created = created};
    }

    std::string root_;
};

TEST_F(StoreTest, ACheckpointIsThereWhenItsManifestIs) {
    ASSERT_TRUE(store().begin(about("a")));
    EXPECT_EQ(store().find("a").value().state, State::incomplete);
    commit("a");
    const auto found = store().find("a");
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->state, State::waiting);
    EXPECT_EQ(found->about.user, "ada");
    EXPECT_EQ(found->about.home, "/home/ada");
    EXPECT_FALSE(found->home);
    ASSERT_TRUE(store().mark_resumed("a"));
    EXPECT_EQ(store().find("a").value().state, State::resumed);
    EXPECT_EQ(fs::status(root_ + "/a").permissions(), fs::perms::owner_all);
}

TEST_F(StoreTest, AnIdIsTakenOnce) {
    ASSERT_TRUE(store().begin(about("a")));
    EXPECT_EQ(store().begin(about("a")).error().code(), EEXIST);
    ASSERT_TRUE(store().begin_removal("a"));
    EXPECT_EQ(store().begin(about("a")).error().code(), EEXIST) << "what is being removed still holds its name";
}

TEST_F(StoreTest, IdsAreFileNames) {
    for (const auto *id : {"", "..", ".hidden", "a/b", "../a", "a b", "a\n"}) {
        EXPECT_FALSE(is_id(id)) << id;
        EXPECT_EQ(store().begin(about(id)).error().code(), EINVAL) << id;
        EXPECT_EQ(store().find(id).error().code(), EINVAL) << id;
        EXPECT_EQ(store().remove(id).error().code(), EINVAL) << id;
    }
    EXPECT_EQ(store().find("none").error().code(), ENOENT);
}

TEST_F(StoreTest, KeepsWhatScreensShowed) {
    ASSERT_TRUE(store().begin(about("a")));
    EXPECT_TRUE(store().pictures("a")->empty());
    const std::map<uint32_t, std::string> pictures = {{3, "\x1b[2J\x1b[1;1Hd\xc3\xa4"}, {10, "x"}};
    ASSERT_TRUE(store().record_pictures("a", pictures));
    EXPECT_EQ(store().pictures("a").value(), pictures);
    EXPECT_FALSE(store().pictures("../a"));
}

TEST_F(StoreTest, TheHomesSnapshotIsKnownEvenOfAHalfMadeOne) {
    ASSERT_TRUE(store().begin(about("a")));
    const snapshot::Saved saved{.provider = "btrfs",
                                .home = "/home/ada",
                                .filesystem = "f",
                                .source = "s",
                                .place = "/home/.abeyance/a",
                                .snapshot = "n",
                                .generation = 7};
    ASSERT_TRUE(store().record_home("a", saved));
    ASSERT_TRUE(store().begin_removal("a"));
    const auto found = store().find("a");
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->state, State::removing);
    ASSERT_TRUE(found->home);
    EXPECT_EQ(found->home->place, saved.place);
    EXPECT_EQ(found->home->generation, 7U);
}

TEST_F(StoreTest, TheDisplacedHomeIsKnownUntilItIsBack) {
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    ASSERT_TRUE(
        store().record_displaced("a", {.home = "/home/ada", .place = "/home/ada.displaced", .state = "u"}, "first"));
    ASSERT_TRUE(store().find("a").value().displaced);
    EXPECT_EQ(store().find("a").value().displaced->place, "/home/ada.displaced");
    EXPECT_EQ(store().find("a").value().displaced->state, "u");
    EXPECT_EQ(store().find("a").value().displaced_by, "first");
    ASSERT_TRUE(store().forget_displaced("a"));
    ASSERT_TRUE(store().forget_displaced("a"));
    EXPECT_FALSE(store().find("a").value().displaced);
}

TEST_F(StoreTest, ADisplacedHomeIsListedAsLongAsItIsThere) {
    EXPECT_TRUE(store().displaced_homes()->empty());
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    ASSERT_TRUE(store().record_home("a", {.provider = "tar", .home = "/home/ada"}));
    const std::string place = root_ + "/.put \xff aside";
    std::filesystem::create_directory(place);
    ASSERT_TRUE(store().record_displaced("a", {.home = "/home/ada", .place = place, .state = "u"}, "first"));
    ASSERT_TRUE(store().record_displaced("a", {.home = "/home/ada", .place = place + "2", .state = "u"}, "second"));
    ASSERT_TRUE(store().remove("a"));
    EXPECT_TRUE(store().list()->checkpoints.empty()) << "the records are no checkpoint";
    ASSERT_EQ(store().displaced_homes()->size(), 2U);
    ASSERT_TRUE(store().sweep_displaced_homes());
    const auto homes = store().displaced_homes();
    ASSERT_TRUE(homes) << homes.error().message();
    ASSERT_EQ(homes->size(), 1U) << "one is not there any more";
    const auto &one = homes->front();
    EXPECT_EQ(one.home.place, place);
    EXPECT_EQ(one.home.home, "/home/ada");
    EXPECT_EQ(one.provider, "tar");
    EXPECT_EQ(one.checkpoint, "a");
    EXPECT_EQ(one.uid, about("a").uid);
    EXPECT_GT(one.created, 1'700'000'000'000'000U);
    std::filesystem::rename(root_, root_ + "-away");
    Store away(root_ + "-away");
    ASSERT_TRUE(away.sweep_displaced_homes());
    EXPECT_EQ(away.displaced_homes()->size(), 1U) << "perhaps it is only not mounted";
    std::filesystem::rename(root_ + "-away", root_);
    ASSERT_TRUE(store().forget_displaced_home(one.name));
    EXPECT_TRUE(store().displaced_homes()->empty());
    EXPECT_EQ(store().forget_displaced_home("../x").error().code(), EINVAL);
}

TEST_F(StoreTest, TheHomeOfAResumedSessionIsNotTakenFromIt) {
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    ASSERT_TRUE(store().record_home("a", {.provider = "none", .home = "/"}));
    ASSERT_TRUE(store().record_displaced("a", {.home = "/", .place = "/displaced"}, "first"));
    EXPECT_EQ(bring_home_back(store(), "a", "first").error().code(), ENOTSUP)
        << "the provider without states was asked";
    ASSERT_TRUE(store().mark_resumed("a"));
    EXPECT_TRUE(bring_home_back(store(), "a", "first"));
    EXPECT_TRUE(store().find("a").value().displaced);
}

// Else a home in which somebody has worked for days would be exchanged for what it was before an attempt long ago.
TEST_F(StoreTest, NobodyElsesDisplacedHomeIsBroughtBack) {
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    ASSERT_TRUE(store().record_home("a", {.provider = "none", .home = "/"}));
    for (const auto *attempt : {"first", ""}) {
        ASSERT_TRUE(store().record_displaced("a", {.home = "/", .place = "/displaced"}, attempt));
        EXPECT_TRUE(bring_home_back(store(), "a", "second"));
        EXPECT_TRUE(bring_home_back(store(), "a", ""));
    }
    EXPECT_TRUE(store().find("a").value().displaced);
}

TEST_F(StoreTest, OneAtATimeWorksOnACheckpoint) {
    ASSERT_TRUE(store().begin(about("a")));
    EXPECT_EQ(store().hold("b").error().code(), ENOENT);
    {
        const auto held = store().hold("a");
        ASSERT_TRUE(held) << held.error().message();
        EXPECT_EQ(store().hold("a").error().code(), EBUSY);
        ASSERT_TRUE(store().begin_removal("a"));
        EXPECT_EQ(store().hold("a").error().code(), EBUSY);
    }
    EXPECT_TRUE(store().hold("a"));
}

TEST_F(StoreTest, AMarkThatFailsLeavesItWaiting) {
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    fs::create_directory(root_ + "/a/resumed.new");
    EXPECT_FALSE(store().mark_resumed("a"));
    EXPECT_EQ(store().find("a").value().state, State::waiting);
}

TEST_F(StoreTest, RemovalLeavesNothingAndCanBeGoneOnWith) {
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    fs::create_symlink("/etc", root_ + "/a/image/link");
    ASSERT_TRUE(store().begin_removal("a"));
    ASSERT_TRUE(store().remove("a"));
    EXPECT_TRUE(fs::is_empty(root_));
    EXPECT_TRUE(fs::exists("/etc/passwd"));
    EXPECT_EQ(store().remove("a").error().code(), ENOENT);
}

TEST_F(StoreTest, ListsByTimeAndLeavesOutWhatItCannotRead) {
    ASSERT_TRUE(store().begin(about("b", 1)));
    ASSERT_TRUE(store().begin(about("a", 2)));
    ASSERT_TRUE(store().begin(about("c", 2)));
    ASSERT_TRUE(write_file(root_ + "/c/about.json", "{"));
    ASSERT_TRUE(write_file(root_ + "/.lock", ""));
    const auto listed = store().list();
    ASSERT_TRUE(listed) << listed.error().message();
    ASSERT_EQ(listed->checkpoints.size(), 2U);
    EXPECT_EQ(listed->checkpoints[0].about.id, "b");
    EXPECT_EQ(listed->checkpoints[1].about.id, "a");
    ASSERT_EQ(listed->unreadable.size(), 1U);
    EXPECT_NE(listed->unreadable[0].message().find("/c/about.json"), std::string::npos);
}

TEST_F(StoreTest, FiguresAndSize) {
    ASSERT_TRUE(store().begin(about("a")));
    ASSERT_TRUE(store().record_measured("a", {.exclusive = 5, .problem = "gone"}));
    ASSERT_TRUE(store().record_figures("a", {{"frozen_time", 12}}));
    EXPECT_EQ(store().find("a").value().figures.at("frozen_time"), 12U);
    const auto before = store().size_of("a").value();
    fs::create_directory(store().images("a"));
    ASSERT_TRUE(write_file(store().images("a") + "/pages", std::string(1U << 20U, 'x')));
    const Fd pages = std::move(*open_file(store().images("a") + "/pages", O_RDONLY));
    ::fsync(pages.get()); // blocks are counted when they are allocated
    EXPECT_GE(store().size_of("a").value(), before + (1U << 20U));
}

TEST_F(StoreTest, LimitsHowManyAUserHas) {
    constexpr Quota quota{.checkpoints = 3};
    for (size_t number = 0; number < quota.checkpoints; ++number) {
        const auto room = store().check_room(1000, quota);
        ASSERT_TRUE(room) << room.error().message();
        ASSERT_TRUE(store().begin(about(std::to_string(number))));
    }
    const auto room = store().check_room(1000, quota);
    ASSERT_FALSE(room);
    EXPECT_EQ(room.error().code(), EDQUOT);
    EXPECT_TRUE(store().check_room(1001, quota)); // another user's are another matter
    commit("0");
    ASSERT_TRUE(store().mark_resumed("0"));
    EXPECT_TRUE(store().check_room(1000, quota));
}

TEST_F(StoreTest, LimitsWhatAUsersTake) {
    constexpr Quota quota{.checkpoints = 3, .size = 1U << 20U};
    ASSERT_TRUE(store().begin(about("a")));
    EXPECT_TRUE(store().check_room(1000, quota));
    fs::create_directory(store().images("a"));
    ASSERT_TRUE(write_file(store().images("a") + "/pages", std::string(1U << 20U, 'x')));
    const Fd pages = std::move(*open_file(store().images("a") + "/pages", O_RDONLY));
    ::fsync(pages.get()); // blocks are counted when they are allocated
    ASSERT_FALSE(store().check_room(1000, quota));
    EXPECT_EQ(store().check_room(1000, quota).error().code(), EDQUOT);
    EXPECT_TRUE(store().check_room(1001, quota));
    const auto most = store().check_room(1000, {.checkpoints = 3, .size = 1});
    EXPECT_NE(most.error().message().find("take 1.0 MiB already"), std::string::npos) << most.error().message();
    fs::remove(store().images("a") + "/pages");
    const auto less = store().check_room(1000, {.checkpoints = 3, .size = 1});
    EXPECT_NE(less.error().message().find(" KiB already"), std::string::npos) << less.error().message();
}

TEST_F(StoreTest, WhatDoesNotFitIsRefusedWithItsSize) {
    constexpr uint64_t mebibyte = 1U << 20U;
    constexpr Quota quota{.checkpoints = 3, .size = 4 * mebibyte};
    ASSERT_TRUE(store().begin(about("a"), quota));
    ASSERT_TRUE(store().begin(about("b"), quota));
    const auto much = store().claim("a", 5 * mebibyte, quota);
    ASSERT_FALSE(much);
    EXPECT_EQ(much.error().code(), EDQUOT);
    EXPECT_NE(much.error().message().find("would take 5.0 MiB"), std::string::npos) << much.error().message();
    EXPECT_NE(much.error().message().find("of 4.0 MiB"), std::string::npos) << much.error().message();
    const auto fits = store().claim("a", 3 * mebibyte, quota);
    ASSERT_TRUE(fits) << fits.error().message();
    EXPECT_TRUE(store().claim("a", 3 * mebibyte, quota)) << "one's own former claim is none of others";
    // What is claimed is taken, although nothing is written yet
    EXPECT_FALSE(store().claim("b", 2 * mebibyte, quota));
    EXPECT_TRUE(store().begin(About{.id = "other", .uid = 1001, .home = "/home/bob", .created = 1}, quota));
    EXPECT_TRUE(store().claim("other", 2 * mebibyte, quota)) << "another user's are another matter";
    commit("a"); // takes what it takes: little
    EXPECT_TRUE(store().claim("b", 2 * mebibyte, quota));
}

TEST_F(StoreTest, WhatTheDiskHasNotIsRefused) {
    constexpr Quota quota{.size = UINT64_MAX};
    const auto free = store().free_space().value();
    ASSERT_TRUE(store().begin(about("a"), quota));
    ASSERT_TRUE(store().begin(About{.id = "b", .uid = 1001, .home = "/home/bob", .created = 1}, quota));
    const auto all = store().claim("a", free, quota);
    ASSERT_FALSE(all) << "nothing would be left";
    EXPECT_EQ(all.error().code(), ENOSPC);
    EXPECT_NE(all.error().message().find("iB are still to be written"), std::string::npos) << all.error().message();
    const auto most = free - free / 8 - kept_free;
    ASSERT_TRUE(store().claim("a", most, quota));
    EXPECT_EQ(store().claim("b", free / 2, quota).error().code(), ENOSPC) << "it is another's";
}

TEST_F(StoreTest, AtOnceNoMoreAreBegunThanAllowed) {
    constexpr Quota quota{.checkpoints = 2};
    std::atomic<size_t> begun = 0;
    {
        constexpr int at_once = 16;
        std::vector<std::jthread> workers;
        workers.reserve(at_once);
        for (int number = 0; number < at_once; ++number)
            workers.emplace_back([&, number] {
                if (store().begin(about(std::to_string(number)), quota))
                    ++begun;
            });
    }
    EXPECT_EQ(begun, quota.checkpoints);
}

TEST_F(StoreTest, PinsStayUntilTheyAreTakenOut) {
    ASSERT_TRUE(store().begin(about("a")));
    commit("a");
    EXPECT_FALSE(store().find("a").value().pinned);
    ASSERT_TRUE(store().set_pinned("a", true));
    ASSERT_TRUE(store().set_pinned("a", true));
    EXPECT_TRUE(store().find("a").value().pinned);
    EXPECT_EQ(store().find("a").value().state, State::waiting);
    ASSERT_TRUE(store().set_pinned("a", false));
    ASSERT_TRUE(store().set_pinned("a", false));
    EXPECT_FALSE(store().find("a").value().pinned);
    EXPECT_FALSE(store().set_pinned("none", true));
    EXPECT_EQ(store().set_pinned("../a", true).error().code(), EINVAL);
}

// Where a home cannot be exchanged in one step there is none for a moment, before anything of it is recorded.
TEST_F(StoreTest, AHomeThatAPowerLossHasLeftAwayIsThereAgain) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only root makes roll-backs";
    const auto homes = root_ + "/homes";
    const auto area = homes + "/.abeyance-homes";
    for (const auto &path : {homes, area, area + "/snapshots", area + "/displaced", area + "/incoming"})
        ASSERT_EQ(::mkdir(path.c_str(), 0700), 0) << path;
    const auto away = area + "/incoming/away_ada-20260102-030405-a";
    ASSERT_EQ(::mkdir(away.c_str(), 0700), 0);
    ASSERT_TRUE(write_file(away + "/notes", "hers"));
    const Store waiting(root_ + "/store");
    fs::create_directory(root_ + "/store");
    ASSERT_TRUE(waiting.begin(about("a")));
    fs::create_directory(waiting.images("a"));
    ASSERT_TRUE(write_file(waiting.images("a") + "/manifest", "m"));
    ASSERT_TRUE(waiting.record_home("a", {.provider = "nilfs2", .home = homes + "/ada"}));
    const auto settled = worker::settle(waiting);
    ASSERT_TRUE(settled) << settled.error().message();
    for (const auto &error : settled->errors)
        ADD_FAILURE() << error.message();
    EXPECT_EQ(read_file(homes + "/ada/notes").value_or(""), "hers");
}

} // namespace
} // namespace abey::store
