// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/vdso.h"
#include "engine/os/xstate.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

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

TEST(VdsoTest, OnlyTheSameCanTakeItsPlace) {
    std::string other = own();
    const auto same = [&] {
        const auto bridge = VdsoBridge::make(other, own());
        EXPECT_TRUE(bridge) << bridge.error().message();
        return bridge && bridge->same();
    };
    EXPECT_TRUE(same());
    const size_t note = other.find(std::string("Linux\0", 6));
    ASSERT_NE(note, std::string::npos);
    other[note + 8] = static_cast<char>(~other[note + 8]);
    EXPECT_TRUE(same()) << "but for the version of the kernel";
    const size_t code = find(other, "__vdso_time").offset;
    other[code] = static_cast<char>(~other[code]);
    EXPECT_FALSE(same());
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
    EXPECT_FALSE(bridge->same());
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

// getrandom's fifth argument of -1 is a question that the system call does not know.
TEST(VdsoTest, RandomBytesComeFromTheKernelWithoutItsQuestion) {
    const std::string name = "__vdso_getrandom";
    const auto all = vdso_functions(own()).value();
    const auto function = std::ranges::find(all, name, &VdsoFunction::name);
    if (function == all.end())
        GTEST_SKIP() << "this kernel's vDSO has no " << name << " (Linux 6.11)";
    const auto bridge = VdsoBridge::make(own(), renamed(own(), name, "__vdso_getrandem"));
    ASSERT_TRUE(bridge) << bridge.error().message();
    const std::string stand_in = bridge->stand_in(elsewhere);
    void *place =
        ::mmap(nullptr, stand_in.size(), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(MAP_FAILED, place);
    std::memcpy(place, stand_in.data(), stand_in.size());
    auto *call = reinterpret_cast<long (*)(void *, size_t, unsigned, void *, size_t)>( // NOLINT
        static_cast<char *>(place) + function->offset);
    std::array<char, 64> bytes{};
    EXPECT_EQ(64, call(bytes.data(), bytes.size(), 0, nullptr, 0));
    EXPECT_NE(bytes, (std::array<char, 64>{}));
    EXPECT_EQ(-ENOSYS, call(nullptr, 0, 0, bytes.data(), ~0UL));
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

// Of a CPU with fewer registers, whose places are the same.
TEST(XstateTest, GrowsToWhatThisCpuHas) {
    const size_t own = xstate_size(enabled_xfeatures());
    const uint64_t features = 7; // x87, SSE, AVX
    if ((enabled_xfeatures() & features) != features)
        GTEST_SKIP() << "this CPU has no AVX";
    std::string area(xstate_size(features), 'x');
    EXPECT_EQ(832U, area.size()) << "the places of the first features are the same everywhere";
    std::memcpy(area.data() + 464, &features, sizeof features);
    const auto fitted = fit_xstate(area);
    ASSERT_TRUE(fitted) << fitted.error().message();
    EXPECT_EQ(own, fitted->size());
    EXPECT_EQ(area, fitted->substr(0, area.size()));
    EXPECT_EQ(std::string(own - area.size(), '\0'), fitted->substr(area.size()));
}

TEST(XstateTest, OtherPlacesAreRefused) {
    const size_t own = xstate_size(enabled_xfeatures());
    for (const size_t size : {size_t{0}, size_t{64}, size_t{840}, own - 8, own + 8}) {
        std::string area(size, 'x');
        const uint64_t features = enabled_xfeatures();
        if (size > 472)
            std::memcpy(area.data() + 464, &features, sizeof features);
        const auto fitted = fit_xstate(area);
        ASSERT_FALSE(fitted) << size;
        EXPECT_NE(std::string::npos, fitted.error().message().find("other places")) << fitted.error().message();
    }
}

} // namespace
} // namespace abey::os
