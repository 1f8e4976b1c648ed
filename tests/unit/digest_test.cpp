// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/digest.h"

#include <string>

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace abey::image {
namespace {

constexpr uint64_t mebibyte = 1U << 20U;

Fd file_of(uint64_t size) {
    Fd file(::memfd_create("digest", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
    return file;
}

void put(const Fd &file, std::string_view text, uint64_t offset) {
    EXPECT_TRUE(write_at(file, std::as_bytes(std::span(text)), offset));
}

TEST(Digest, HolesAreZeros) {
    constexpr uint64_t size = 8 * mebibyte + 100;
    const Fd sparse = file_of(size);
    const Fd dense = file_of(size);
    put(dense, std::string(size, '\0'), 0);
    for (const Fd *file : {&sparse, &dense}) {
        put(*file, "in the middle of a block", 3 * mebibyte + 5000);
        put(*file, "over the end of a block", 6 * mebibyte - 10);
    }
    const auto digests = digest_blocks(sparse, size).value();
    ASSERT_EQ(digests.size(), 9U);
    EXPECT_EQ(digests, digest_blocks(dense, size).value());
    EXPECT_NE(digests[3], digests[4]);
}

TEST(Digest, HolesAreNotRead) {
    constexpr uint64_t size = uint64_t{1} << 40U; // reading it would take minutes
    const Fd file = file_of(size);
    put(file, "data", size / 2);
    const auto digests = digest_blocks(file, size).value();
    EXPECT_EQ(digests.front(), digests.back());
    EXPECT_NE(digests.front(), digests.at(digests.size() / 2));
}

TEST(Digest, MissingEndIsNoHole) {
    const Fd file = file_of(2 * mebibyte);
    EXPECT_TRUE(digest_blocks(file, 2 * mebibyte));
    EXPECT_FALSE(digest_blocks(file, 3 * mebibyte));
}

} // namespace
} // namespace abey::image
