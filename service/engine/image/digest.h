// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Checksums of image files: a file is cut into blocks, each block has an XXH3-128 digest, and the file's checksum is
// the digest of its block digests, so that several threads can compute it.
#pragma once

#include "engine/os/fd.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace abey::image {

inline constexpr size_t block_size = 1U << 20U;

struct Digest {
    uint64_t low = 0, high = 0;
    bool operator==(const Digest &) const = default;
};

Digest digest(std::span<const std::byte> data);
// Of a whole block of zeros, as a hole reads.
Digest digest_of_hole();
// Of block digests, in order.
Digest combine(std::span<const Digest> blocks);
std::string to_hex(const Digest &digest);

// Of all blocks of a file, read by a few threads; memory stays at one block for each.
Result<std::vector<Digest>> digest_blocks(const Fd &file, uint64_t size);

} // namespace abey::image
