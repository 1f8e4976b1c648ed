// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/pages.h"

#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::image {

namespace {

constexpr uint64_t count = 64;
constexpr uint64_t own_page = 3;

class Child {
  public:
    template <class Work> explicit Child(Work work) {
        int ends[2] = {};
        if (::pipe(ends) != 0)
            return;
        pid_ = ::fork();
        if (pid_ == 0) {
            work();
            (void)!::write(ends[1], "r", 1);
            for (;;)
                ::pause();
        }
        char ready = 0;
        (void)!::read(ends[0], &ready, 1);
        ::close(ends[0]);
        ::close(ends[1]);
    }
    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;
    ~Child() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] int pid() const { return pid_; }

  private:
    int pid_ = -1;
};

std::array<uint64_t, count> frames(int pid, uint64_t address) {
    std::array<uint64_t, count> entries = {};
    const auto pagemap = open_file("/proc/" + std::to_string(pid) + "/pagemap", O_RDONLY);
    EXPECT_TRUE(pagemap && read_at(*pagemap, std::as_writable_bytes(std::span(entries)), address / page * 8));
    for (uint64_t &entry : entries)
        entry &= (1ULL << 55U) - 1;
    return entries;
}

} // namespace

// The page frames are told to root only; the tests run as root.
TEST(CommonPages, AreWrittenOnceAndStayCommon) {
    auto *memory =
        static_cast<char *>(::mmap(nullptr, count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory, MAP_FAILED);
    ::madvise(memory, count * page, MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < count; ++i)
        std::memset(memory + i * page, static_cast<int>('a' + i % 26), page);
    const Child first([] {});
    const Child second([&] { std::memset(memory + own_page * page, 'W', page); });
    ASSERT_GT(first.pid(), 0);
    ASSERT_GT(second.pid(), 0);

    const auto address = reinterpret_cast<uint64_t>(memory);
    model::AddressSpace one;
    one.mappings.push_back({.start = address, .end = address + count * page, .protection = PROT_READ | PROT_WRITE});
    model::AddressSpace other = one;
    const Fd file(::memfd_create("pages", 0));
    PageWriter writer(true);
    ASSERT_TRUE(writer.plan(first.pid(), one));
    ASSERT_TRUE(writer.plan(second.pid(), other));
    ASSERT_TRUE(writer.write(file));
    EXPECT_EQ(writer.figures().written, count + 1);
    EXPECT_EQ(writer.size(), (count + 1) * page);

    ASSERT_EQ(one.pages.size(), 1U);
    ASSERT_EQ(other.pages.size(), 3U);
    EXPECT_EQ(other.pages[0].offset, one.pages[0].offset);
    EXPECT_EQ(other.pages[1].address, address + own_page * page);
    EXPECT_EQ(other.pages[1].offset, count * page);
    EXPECT_EQ(other.pages[2].offset, one.pages[0].offset + (own_page + 1) * page);
    std::array<char, page> saved = {};
    ASSERT_TRUE(read_at(file, std::as_writable_bytes(std::span(saved)), count * page));
    EXPECT_EQ(saved[17], 'W');
    ASSERT_TRUE(read_at(file, std::as_writable_bytes(std::span(saved)), own_page * page));
    EXPECT_EQ(saved[17], 'a' + static_cast<char>(own_page));

    const auto in_first = frames(first.pid(), address);
    const auto in_second = frames(second.pid(), address);
    for (uint64_t i = 0; i < count; ++i)
        EXPECT_EQ(in_first.at(i) == in_second.at(i), i != own_page) << "page " << i;
    ::munmap(memory, count * page);
}

// A look takes in several mappings at once.
TEST(CommonPages, OfMappingsNearEachOther) {
    auto *memory =
        static_cast<char *>(::mmap(nullptr, count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory, MAP_FAILED);
    ::madvise(memory, count * page, MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < count; ++i)
        std::memset(memory + i * page, static_cast<int>('a' + i % 26), page);
    constexpr uint64_t hole = 16, hidden = 20, shared = 32, rest = 40;
    ASSERT_EQ(::munmap(memory + hole * page, (hidden - hole) * page), 0);
    ASSERT_EQ(::mprotect(memory + hidden * page, (shared - hidden) * page, PROT_NONE), 0);
    ASSERT_NE(::mmap(memory + shared * page, (rest - shared) * page, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
              MAP_FAILED);
    std::memset(memory + shared * page, 's', (rest - shared) * page);
    const Child first([] {});
    const Child second([&] { std::memset(memory + own_page * page, 'W', page); });
    ASSERT_GT(first.pid(), 0);
    ASSERT_GT(second.pid(), 0);

    const auto address = reinterpret_cast<uint64_t>(memory);
    model::AddressSpace one;
    for (const auto &[from, to] : {std::pair(uint64_t{0}, hole), {hidden, shared}, {shared, rest}, {rest, count}})
        one.mappings.push_back({.start = address + from * page, .end = address + to * page});
    one.mappings[2].shared = true;
    model::AddressSpace other = one;
    const Fd file(::memfd_create("pages", 0));
    PageWriter writer(true);
    ASSERT_TRUE(writer.plan(first.pid(), one));
    ASSERT_TRUE(writer.plan(second.pid(), other));
    ASSERT_TRUE(writer.write(file));
    constexpr uint64_t saved = hole + (shared - hidden) + (count - rest);
    EXPECT_EQ(writer.figures().written, saved + 1);
    ASSERT_EQ(one.pages.size(), 3U);
    ASSERT_EQ(other.pages.size(), 5U);
    EXPECT_EQ(other.pages[1].address, address + own_page * page);
    for (const size_t i : {1UL, 2UL}) {
        EXPECT_EQ(other.pages[i + 2].address, one.pages[i].address);
        EXPECT_EQ(other.pages[i + 2].length, one.pages[i].length);
        EXPECT_EQ(other.pages[i + 2].offset, one.pages[i].offset);
    }
    std::array<char, page> bytes = {};
    ASSERT_TRUE(read_at(file, std::as_writable_bytes(std::span(bytes)), one.pages[1].offset));
    EXPECT_EQ(bytes[17], 'a' + static_cast<char>(hidden));
    ::munmap(memory, count * page);
}

} // namespace abey::image
