// SPDX-License-Identifier: LGPL-2.1-or-later
//
// States of homes that arrive from another machine. Needs root.
#include "snapshot/received.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "snapshot/area.h"
#include "snapshot/subvolume.h"

#include <array>
#include <cstddef>
#include <optional>

#include <gtest/gtest.h>
#include <linux/btrfs.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

// From here on the disk cannot be waited for: fsync(2) and BTRFS_IOC_START_SYNC fail with EIO.
bool break_disk() {
    std::array program = {
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 3, 0),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(BTRFS_IOC_START_SYNC), 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter = {.len = program.size(), .filter = program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

class ReceivedTest : public testing::TestWithParam<const char *> {
  protected:
    void SetUp() override {
        disk_.emplace(GetParam());
        if (disk_->path().empty())
            GTEST_SKIP() << disk_->why_not();
        fs::permissions(disk_->path(), fs::perms(0755));
        home_ = disk_->path() + "/ada";
        if (std::string_view(GetParam()) == "btrfs") {
            const auto parent = open_directory(AT_FDCWD, disk_->path());
            ASSERT_TRUE(parent && make_subvolume(*parent, "ada"));
        } else {
            fs::create_directory(home_);
        }
        ASSERT_TRUE(write_file(home_ + "/note", "of another machine"));
    }
    // The home's own state, as if it came from elsewhere.
    Result<Saved> receive(bool broken) const {
        const auto home = TRY(open_directory(AT_FDCWD, home_));
        const auto list = TRY(Manifest::of(home, home_));
        auto received = TRY(Received::begin(home_, list));
        if (!test::run({"cp", "-a", home_ + "/.", received.tree()}))
            return fail(0, "cp");
        if (broken && !break_disk())
            return fail(0, "seccomp");
        return received.finish("one", list, "/list");
    }
    [[nodiscard]] std::vector<std::string> states() const {
        std::vector<std::string> names;
        for (const auto *area : {"/.abeyance", "/.abeyance-homes"})
            if (const auto place = disk_->path() + area + "/snapshots"; fs::exists(place))
                for (const auto &entry : fs::directory_iterator(place))
                    names.push_back(entry.path().filename());
        return names;
    }

    std::optional<test::Disk> disk_;
    std::string home_;
};

TEST_P(ReceivedTest, LeavesNothingWhenTheDiskFailsAtTheEnd) {
    const auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const auto saved = receive(true);
        ::_exit(!saved && saved.error().code() == EIO ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "it failed otherwise, or not at all";
    EXPECT_EQ(states(), std::vector<std::string>());
}

TEST_P(ReceivedTest, IsNotTakenForAnotherSystems) {
    EXPECT_TRUE(check_no_state(home_, "one"));
    const auto saved = receive(false);
    ASSERT_TRUE(saved) << saved.error().message();
    EXPECT_EQ(read_file(saved->place + "/note").value_or(read_file(saved->place + "/tree/note").value_or("none")),
              "of another machine");
    EXPECT_EQ(states(), std::vector<std::string>{"one"});
    EXPECT_EQ(check_no_state(home_, "one").error().code(), EEXIST);
    EXPECT_TRUE(check_no_state(home_, "two"));
}

INSTANTIATE_TEST_SUITE_P(On, ReceivedTest, testing::Values("btrfs", "ext4"),
                         [](const auto &each) { return std::string(each.param); });

} // namespace
} // namespace abey::snapshot
