// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/vdso.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {
namespace {

constexpr uint64_t elsewhere = 0x123450000;

std::string own() { return own_vdso().value(); }

VdsoFunction find(const std::string &image, std::string_view name) {
    const auto all = vdso_functions(image).value();
    for (const VdsoFunction &function : all)
        if (function.name == name)
            return function;
    ADD_FAILURE() << "there is no " << name;
    return {};
}

std::string renamed(std::string image, std::string_view from, std::string_view to) {
    EXPECT_EQ(from.size(), to.size());
    const size_t at = image.find(std::string(from) + '\0');
    EXPECT_NE(at, std::string::npos);
    return image.replace(at, to.size(), to);
}

TEST(VdsoTest, NamesTheFunctionsThatTheLibraryCalls) {
    const std::string image = own();
    for (const char *name : {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu"}) {
        const VdsoFunction function = find(image, name);
        EXPECT_GT(function.offset, 0U) << name;
        EXPECT_GT(function.size, 0U) << name;
        EXPECT_LE(function.offset + function.size, image.size()) << name;
    }
}

TEST(VdsoTest, TheSameCanTakeItsOwnPlace) {
    std::string other = own();
    const VdsoFunction time = find(other, "__vdso_time");
    const VdsoFunction cpu = find(other, "__vdso_getcpu");
    other[time.offset] = static_cast<char>(~other[time.offset]);
    const auto bridge = VdsoBridge::make(other, own());
    ASSERT_TRUE(bridge) << bridge.error().message();
    EXPECT_TRUE(bridge->same_places());
    EXPECT_TRUE(bridge->same_code(cpu.offset + 3));
    EXPECT_FALSE(bridge->same_code(time.offset + 3)) << "its code is another one";
    EXPECT_FALSE(bridge->same_code(0)) << "that is no function";
}

TEST(VdsoTest, LeadsToWhereFunctionsAreNow) {
    const std::string former = own();
    const auto bridge = VdsoBridge::make(former, own());
    ASSERT_TRUE(bridge) << bridge.error().message();
    const std::string stand_in = bridge->stand_in(elsewhere);
    ASSERT_EQ(former.size(), stand_in.size());
    const VdsoFunction time = find(former, "__vdso_time");
    uint64_t target = 0;
    std::memcpy(&target, stand_in.data() + time.offset + 2, sizeof target);
    EXPECT_EQ(elsewhere + time.offset, target);
    EXPECT_EQ("\x49\xbb", stand_in.substr(time.offset, 2));
    EXPECT_EQ("\x41\xff\xe3", stand_in.substr(time.offset + 10, 3));
    EXPECT_EQ(former.substr(0, 64), stand_in.substr(0, 64)) << "debuggers and unwinders read its headers";
}

// Run, not only looked at: in memory of our own, whose addresses are known.
TEST(VdsoTest, WhatIsMissingGoesToTheKernel) {
    const std::string without = renamed(own(), "__vdso_time", "__vdso_xime");
    const auto bridge = VdsoBridge::make(own(), without);
    ASSERT_TRUE(bridge) << bridge.error().message();
    EXPECT_FALSE(bridge->same_places());
    const std::string stand_in = bridge->stand_in(elsewhere);
    void *place =
        ::mmap(nullptr, stand_in.size(), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(MAP_FAILED, place);
    std::memcpy(place, stand_in.data(), stand_in.size());
    const VdsoFunction function = find(own(), "__vdso_time");
    auto *call = reinterpret_cast<time_t (*)(time_t *)>(static_cast<char *>(place) + function.offset); // NOLINT
    const time_t before = ::time(nullptr);
    const time_t found = call(nullptr);
    EXPECT_LE(before - 1, found);
    EXPECT_LE(found, ::time(nullptr) + 1);
    ::munmap(place, stand_in.size());
}

TEST(VdsoTest, WhatNobodyKnowsIsRefusedByName) {
    const auto bridge = VdsoBridge::make(renamed(own(), "__vdso_time", "__vdso_xime"), own());
    ASSERT_FALSE(bridge);
    EXPECT_NE(std::string::npos, bridge.error().message().find("__vdso_xime")) << bridge.error().message();
}

TEST(VdsoTest, DamagedImagesAreErrors) {
    const std::string whole = own();
    Elf64_Ehdr header;
    std::memcpy(&header, whole.data(), sizeof header);
    const size_t needed = header.e_shoff + header.e_shnum * sizeof(Elf64_Shdr); // nothing follows its sections' headers
    for (size_t size = 0; size < needed; size += 61) {
        const std::string part = whole.substr(0, size); // a string of its own, so that what is behind is seen
        EXPECT_FALSE(vdso_functions(part)) << size;
    }
    for (size_t at = 0; at < whole.size(); at += 7) { // nothing but that it ends, and stays within the image
        std::string image = whole;
        image.replace(at, std::min<size_t>(8, image.size() - at), std::min<size_t>(8, image.size() - at), '\xff');
        const auto bridge = VdsoBridge::make(image, whole);
        EXPECT_EQ(whole.size(), bridge ? bridge->stand_in(elsewhere).size() : whole.size());
    }
}

// A child that is nearly always within the vDSO; with a clock that only the kernel can read, in a system call from
// there.
class LeaveVdsoTest : public ::testing::TestWithParam<clockid_t> {
  protected:
    void SetUp() override {
        child_ = ::fork();
        if (child_ == 0) {
            timespec time = {};
            for (;;)
                (void)::clock_gettime(GetParam(), &time);
        }
        const auto parts = own_vdso_parts().value(); // the child has them where we have them
        for (const ProcMapping &part : parts)
            if (part.name == "[vdso]")
                vdso_ = {part.start, part.end};
    }
    void TearDown() override {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }
    [[nodiscard]] bool within(const Tracee &thread) const {
        const uint64_t rip = thread.registers().value().rip;
        return rip >= vdso_.first && rip < vdso_.second;
    }
    pid_t child_ = -1;
    std::pair<uint64_t, uint64_t> vdso_;
};

TEST_P(LeaveVdsoTest, GoesOnToTheEndOfTheFunction) {
    int seen = 0;
    for (int i = 0; i < 200 && seen < 5; ++i) {
        ::usleep(1000);
        auto thread = Tracee::seize(child_, 0);
        ASSERT_TRUE(thread) << thread.error().message();
        ASSERT_TRUE(thread->settle());
        const uint64_t mask = thread->signal_mask().value();
        seen += within(*thread) ? 1 : 0;
        const auto left = leave_vdso(*thread, read_maps(child_).value());
        ASSERT_TRUE(left) << left.error().message();
        EXPECT_FALSE(within(*thread));
        EXPECT_EQ(mask, thread->signal_mask().value());
        EXPECT_EQ(0U, thread->registers().value().eflags & 0x100U) << "it would go on in single steps";
    }
    EXPECT_EQ(5, seen) << "it was not within the vDSO often enough for a test";
    EXPECT_EQ(0, ::kill(child_, 0));
}

TEST_P(LeaveVdsoTest, ASignalOnItsWayIsNotLost) {
    for (int i = 0; i < 20; ++i) {
        auto thread = Tracee::seize(child_, 0);
        ASSERT_TRUE(thread) << thread.error().message();
        ASSERT_TRUE(thread->settle());
        ::kill(child_, SIGSTOP); // which cannot be blocked
        const auto left = leave_vdso(*thread, read_maps(child_).value());
        ASSERT_TRUE(left) << left.error().message();
        ASSERT_TRUE(thread->detach());
        int status = 0;
        ASSERT_EQ(child_, ::waitpid(child_, &status, WUNTRACED));
        ASSERT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) << status;
        ::kill(child_, SIGCONT);
        ASSERT_EQ(child_, ::waitpid(child_, &status, WCONTINUED));
    }
}

INSTANTIATE_TEST_SUITE_P(Clocks, LeaveVdsoTest, ::testing::Values(CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID));

} // namespace
} // namespace abey::os
