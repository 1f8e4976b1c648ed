// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Homes of which is written down what a resume displaces: whenever it is killed, the home is what it was. Needs root.
#include "store/recorded_home.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "snapshot/btrfs.h"
#include "snapshot/tree.h"
#include "worker/worker.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>

#include <btrfsutil.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace abey::store {
namespace {

namespace fs = std::filesystem;
using snapshot::StepDone;

class RecordedHomeTest : public testing::TestWithParam<const char *> {
  protected:
    void SetUp() override {
        disk_.emplace(is_btrfs() ? "btrfs" : "ext4");
        if (disk_->path().empty())
            GTEST_SKIP() << disk_->why_not();
        fs::permissions(disk_->path(), fs::perms(0755));
        home_ = disk_->path() + "/ada";
        if (is_btrfs())
            ASSERT_EQ(btrfs_util_create_subvolume(home_.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        else
            fs::create_directory(home_);
        fs::create_directory(disk_->base() + "/store");
        store_ = Store(disk_->base() + "/store");
        ASSERT_TRUE(store_.begin({.id = "one", .uid = 1000, .user = "ada", .home = home_, .session = "3"}));
        fs::create_directory(store_.images("one"));
        ASSERT_TRUE(write_file(store_.images("one") + "/manifest", "m"));
        note("old");
        const auto home = recorded({});
        ASSERT_TRUE(home->prepare());
        const auto saved = home->save("one");
        ASSERT_TRUE(saved) << saved.error().message();
        saved_ = *saved;
    }
    [[nodiscard]] static bool is_btrfs() { return std::string_view(GetParam()) == "btrfs"; }
    [[nodiscard]] std::unique_ptr<RecordedHome> recorded(StepDone done) const {
        auto provider = is_btrfs() ? snapshot::make_btrfs(home_, {}, std::move(done))
                                   : snapshot::make_tree_provider(snapshot::TreeKind::rsync, home_, std::move(done));
        return std::make_unique<RecordedHome>(std::move(provider), store_, "one", "attempt");
    }
    void note(const std::string &text) const { ASSERT_TRUE(write_file(home_ + "/note", text)); }
    [[nodiscard]] std::string note() const { return read_file(home_ + "/note").value_or("(none)"); }
    void roll_back_killed_after(std::string_view step) const {
        killed_after(step, [this](RecordedHome &home) { (void)home.roll_back(saved_); });
    }
    void killed_after(std::string_view step, const std::function<void(RecordedHome &home)> &work) const {
        const auto child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const auto home = recorded([&step](std::string_view done) {
                if (done == step)
                    ::kill(::getpid(), SIGKILL);
            });
            work(*home);
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "there is no step " << step;
    }
    // There must be none before.
    void copy_out_killed_after(std::string_view step) const {
        killed_after(step, [this](RecordedHome &home) { (void)home.copy_out(saved_); });
        EXPECT_EQ(copies().empty(), step == "copy announced") << step;
    }
    // Whole ones, and such as are on their way.
    [[nodiscard]] std::vector<std::string> copies() const {
        std::vector<std::string> names;
        for (const auto *area : {"/.abeyance/", "/.abeyance-homes/"})
            for (const auto *part : {"displaced", "incoming"})
                if (const auto place = disk_->path() + area + part; fs::exists(place))
                    for (const auto &entry : fs::directory_iterator(place))
                        names.push_back(entry.path().string());
        return names;
    }
    [[nodiscard]] static std::vector<std::string> copy_steps() {
        if (is_btrfs())
            return {"copy announced", "copied out"};
        return {"copy announced", "copy ready", "copied out"};
    }
    static constexpr std::array steps = {"copy made", "copy named", "exchanged", "displaced"};

    std::optional<test::Disk> disk_;
    std::string home_;
    Store store_;
    snapshot::Saved saved_;
};

TEST_P(RecordedHomeTest, IsWhatItWasAfterAResumeThatWasKilled) {
    for (const std::string step : steps) {
        note(step);
        roll_back_killed_after(step);
        const auto back = bring_home_back(store_, "one", "attempt");
        EXPECT_TRUE(back) << step << ": " << back.error().message();
        EXPECT_EQ(note(), step);
        EXPECT_FALSE(store_.find("one").value().displaced) << step;
    }
}

TEST_P(RecordedHomeTest, IsWhatItWasAfterAPowerLoss) {
    for (const std::string step : steps) {
        note(step);
        roll_back_killed_after(step);
        const auto settled = worker::settle(store_);
        ASSERT_TRUE(settled) << step << ": " << settled.error().message();
        for (const auto &error : settled->errors)
            ADD_FAILURE() << step << ": " << error.message();
        EXPECT_EQ(note(), step);
    }
}

TEST_P(RecordedHomeTest, IsNotExchangedWhenThatCannotBeWrittenDown) {
    note("new");
    fs::rename(store_.directory("one"), disk_->base() + "/aside");
    EXPECT_FALSE(recorded({})->roll_back(saved_));
    EXPECT_EQ(note(), "new");
    fs::rename(disk_->base() + "/aside", store_.directory("one"));
    const auto displaced = recorded({})->roll_back(saved_);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(note(), "old");
    EXPECT_EQ(read_file(displaced->place + "/note").value_or("(none)"), "new");
    EXPECT_EQ(store_.find("one").value().displaced.value_or(snapshot::Displaced()).place, displaced->place);
    EXPECT_EQ(store_.displaced_homes().value().size(), 1U);
}

TEST_P(RecordedHomeTest, IsNotCopiedForASessionThatNeverRuns) {
    for (const auto &step : copy_steps()) {
        copy_out_killed_after(step);
        EXPECT_TRUE(bring_home_back(store_, "one", "another attempt"));
        EXPECT_EQ(store_.find("one").value().private_home.has_value(), true) << "it is not that one's to remove";
        const auto back = bring_home_back(store_, "one", "attempt");
        EXPECT_TRUE(back) << step << ": " << back.error().message();
        EXPECT_EQ(copies(), std::vector<std::string>()) << step;
        EXPECT_FALSE(store_.find("one").value().private_home) << step;

        copy_out_killed_after(step);
        const auto settled = worker::settle(store_);
        ASSERT_TRUE(settled && settled->errors.empty()) << step;
        EXPECT_EQ(copies(), std::vector<std::string>()) << step << ", and then a boot";
    }
    const auto home = recorded({});
    const auto copy = home->copy_out(saved_);
    ASSERT_TRUE(copy) << copy.error().message();
    EXPECT_EQ(store_.find("one").value().private_home.value_or(PrivateHome()).place, *copy);
    EXPECT_TRUE(home->drop_copy(*copy));
    EXPECT_FALSE(store_.find("one").value().private_home);
    EXPECT_EQ(copies(), std::vector<std::string>());
}

TEST_P(RecordedHomeTest, IsTheSessionsOwnOnceItRuns) {
    copy_out_killed_after("copied out");
    ASSERT_TRUE(store_.mark_resumed("one"));
    EXPECT_TRUE(bring_home_back(store_, "one", "attempt"));
    EXPECT_TRUE(drop_private_home(store_, store_.find("one").value()));
    const auto left = copies();
    EXPECT_EQ(std::ranges::count_if(
                  left, [](const auto &one) { return one.find("displaced/ada-private-") != std::string::npos; }),
              1);
}

TEST_P(RecordedHomeTest, IsNotCopiedWhenThatCannotBeWrittenDown) {
    fs::rename(store_.directory("one"), disk_->base() + "/aside");
    EXPECT_FALSE(recorded({})->copy_out(saved_));
    EXPECT_EQ(copies(), std::vector<std::string>());
}

INSTANTIATE_TEST_SUITE_P(On, RecordedHomeTest, testing::Values("btrfs", "rsync"),
                         [](const auto &each) { return std::string(each.param); });

} // namespace
} // namespace abey::store
