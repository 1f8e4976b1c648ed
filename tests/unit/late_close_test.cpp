// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/late_close.h"

#include <array>
#include <cerrno>
#include <optional>

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace abey::os {
namespace {

Fd nameless(off_t size) {
    Fd file(::memfd_create("late", MFD_CLOEXEC));
    EXPECT_EQ(::posix_fallocate(file.get(), 0, size), 0);
    return file;
}

int only_child() {
    const std::string children = read_file("/proc/thread-self/children").value();
    return children.empty() ? -1 : std::stoi(children);
}

TEST(LateClose, ChildHoldsLargeNamelessFilesAndNothingElse) {
    std::array<int, 2> ends = {};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd reader(ends[0]);
    Fd writer(ends[1]);
    Fd file = nameless(40L << 20U);
    const std::string shown = read_link("/proc/self/fd/" + std::to_string(file.get())).value();
    std::optional<LateClose> late(std::in_place);
    late->share();
    const int child = only_child();
    ASSERT_GT(child, 0);
    EXPECT_EQ(read_link("/proc/" + std::to_string(child) + "/fd/" + std::to_string(file.get())).value(), shown);
    file.reset();
    writer.reset();
    char byte = 0;
    EXPECT_EQ(::read(reader.get(), &byte, 1), 0); // the child is no writer
    EXPECT_EQ(::waitpid(child, nullptr, WNOHANG), 0);
    late.reset();
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(LateClose, SmallFilesAreNotWorthIt) {
    const Fd file = nameless(1L << 20U);
    LateClose late;
    late.share();
    EXPECT_EQ(only_child(), -1);
}

TEST(LateClose, AllButTheKeptAreClosed) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        for (const int fd : {10, 11, 12, 400})
            ::dup2(0, fd);
        constexpr std::array<int, 2> kept = {11, 400};
        close_all_but(kept);
        const auto open = [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; };
        ::_exit(open(11) && open(400) && !open(0) && !open(2) && !open(10) && !open(12) ? 0 : 1);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

} // namespace
} // namespace abey::os
