// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a snapshot alone keeps on disk, beside what btrfs-progs counts by a walk through all of it. Needs root.
#include "snapshot/provider.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "engine/os/program.h"

#include <btrfsutil.h>
#include <gtest/gtest.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr uint64_t mebibyte = 1U << 20U;

class ExclusiveTest : public testing::Test {
  protected:
    void SetUp() override {
        if (disk_.path().empty())
            GTEST_SKIP() << disk_.why_not();
        home_ = disk_.path() + "/ada";
        ASSERT_EQ(btrfs_util_create_subvolume(home_.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
        fs::create_directories(home_ + "/tree/below");
        for (const auto *name : {"written", "replaced", "moved", "kept", "tree/below/removed"})
            write(name, 0, 4);
        fs::create_hard_link(home_ + "/tree/below/removed", home_ + "/tree/link");
        provider_ = make_provider("btrfs", home_).value();
    }
    // In extents of a mebibyte each: one that is written in part stays with the snapshot and the home.
    void write(const std::string &name, uint64_t at, uint64_t mebibytes) const {
        const auto file = open_file(home_ + "/" + name, O_WRONLY | O_CREAT, 0600);
        ASSERT_TRUE(file);
        std::string data(mebibyte, '\0');
        for (; mebibytes > 0; --mebibytes, ++at) {
            for (size_t i = 0; i < data.size(); i += 512)
                data[i] = static_cast<char>(::random());
            ASSERT_EQ(::pwrite(file->get(), data.data(), data.size(), static_cast<off_t>(at * mebibyte)),
                      static_cast<ssize_t>(data.size()));
            ASSERT_EQ(::fsync(file->get()), 0);
        }
    }
    // Wholly: deletion goes on in the background.
    void remove_subvolume(const std::string &path) const {
        ASSERT_EQ(btrfs_util_delete_subvolume(path.c_str(), 0), BTRFS_UTIL_OK);
        ASSERT_TRUE(test::run({"btrfs", "filesystem", "sync", disk_.path()}));
        ASSERT_TRUE(test::run({"btrfs", "subvolume", "sync", disk_.path()}));
    }
    Saved save(const std::string &id) {
        auto saved = provider_->save(id);
        EXPECT_TRUE(saved) << saved.error().message();
        return saved.value_or(Saved{});
    }
    [[nodiscard]] std::optional<uint64_t> measured(const Saved &saved,
                                                   std::chrono::steady_clock::duration time = 60s) const {
        const auto directory = open_file(disk_.path(), O_RDONLY | O_DIRECTORY);
        EXPECT_EQ(::syncfs(directory->get()), 0);
        const auto size = provider_->exclusive(saved, std::chrono::steady_clock::now() + time);
        EXPECT_TRUE(size) << size.error().message();
        return size.value_or(std::nullopt);
    }
    // Its second column: bytes that nobody shares.
    static uint64_t counted_by_du(const Saved &saved) {
        const auto *const output = "/mnt/du-output";
        EXPECT_TRUE(test::run({"sh", "-c", "btrfs filesystem du -s --raw " + saved.place + " >" + output}));
        const auto text = read_file(output).value_or("");
        uint64_t total = 0;
        uint64_t exclusive = 0;
        EXPECT_EQ(std::sscanf(text.c_str() + text.find('\n'), "%lu %lu", &total, &exclusive), 2) << text;
        return exclusive;
    }

    test::Disk disk_{"btrfs"};
    std::string home_;
    std::unique_ptr<Provider> provider_;
};

TEST_F(ExclusiveTest, IsWhatTheHomeHasLeftSince) {
    const auto saved = save("one");
    EXPECT_EQ(measured(saved), 0U);
    write("new", 0, 2);
    fs::rename(home_ + "/moved", home_ + "/tree/moved");
    EXPECT_EQ(measured(saved), 0U);
    write("written", 1, 1);
    EXPECT_EQ(measured(saved), 1 * mebibyte);
    const auto part = open_file(home_ + "/written", O_WRONLY);
    ASSERT_EQ(::pwrite(part->get(), "x", 1, 0), 1);
    EXPECT_EQ(measured(saved), 1 * mebibyte);
    fs::rename(home_ + "/new", home_ + "/replaced");
    EXPECT_EQ(measured(saved), 5 * mebibyte);
    fs::remove_all(home_ + "/tree"); // "moved" with it
    EXPECT_EQ(measured(saved), 13 * mebibyte);
    EXPECT_EQ(measured(saved), counted_by_du(saved));
    // Now a later snapshot has none of it, and one of the snapshot shares all.
    EXPECT_EQ(measured(save("two")), 0U);
    ASSERT_EQ(btrfs_util_create_snapshot(saved.place.c_str(), (disk_.path() + "/other").c_str(), 0, nullptr, nullptr),
              BTRFS_UTIL_OK);
    EXPECT_EQ(measured(saved), 0U);
}

TEST_F(ExclusiveTest, OfAHomeThatWasRolledBackOrReplaced) {
    const auto saved = save("one");
    write("written", 0, 4);
    const auto displaced = provider_->roll_back(saved);
    ASSERT_TRUE(displaced) << displaced.error().message();
    EXPECT_EQ(measured(saved), 0U);
    write("kept", 1, 2);
    EXPECT_EQ(measured(saved), 0U); // what was displaced has it, too
    remove_subvolume(displaced->place);
    EXPECT_EQ(measured(saved), 2 * mebibyte);
    EXPECT_EQ(measured(saved), counted_by_du(saved));
    fs::rename(home_, disk_.path() + "/was");
    ASSERT_EQ(btrfs_util_create_subvolume(home_.c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
    EXPECT_EQ(measured(saved), counted_by_du(saved));
}

TEST_F(ExclusiveTest, WithSubvolumesInTheHome) {
    ASSERT_EQ(btrfs_util_create_subvolume((home_ + "/sub").c_str(), 0, nullptr, nullptr), BTRFS_UTIL_OK);
    write("sub/data", 0, 4);
    const auto saved = save("one");
    EXPECT_EQ(measured(saved), 0U);
    write("sub/data", 0, 3);
    EXPECT_EQ(measured(saved), 3 * mebibyte);
    remove_subvolume(home_ + "/sub");
    EXPECT_EQ(measured(saved), 4 * mebibyte);
}

TEST_F(ExclusiveTest, EndsWhenItTakesTooLong) {
    const auto saved = save("one");
    write("written", 0, 1);
    EXPECT_EQ(measured(saved, -1s), std::nullopt);
}

} // namespace
} // namespace abey::snapshot
