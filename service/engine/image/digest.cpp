// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/digest.h"

#include "engine/image/parallel.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace abey::image {

Digest digest(std::span<const std::byte> data) {
    const XXH128_hash_t hash = XXH3_128bits(data.data(), data.size());
    return {hash.low64, hash.high64};
}

Digest combine(std::span<const Digest> blocks) {
    std::vector<XXH128_canonical_t> canonical(blocks.size());
    for (size_t i = 0; i < blocks.size(); ++i)
        XXH128_canonicalFromHash(&canonical[i], {blocks[i].low, blocks[i].high});
    return digest(std::as_bytes(std::span(canonical)));
}

std::string to_hex(const Digest &digest) { return fmt::format("{:016x}{:016x}", digest.high, digest.low); }

Result<std::vector<Digest>> digest_blocks(const Fd &file, uint64_t size) {
    const size_t count = (size + block_size - 1) / block_size;
    std::vector<Digest> digests(count);
    auto done = in_parallel(count, [&](size_t block, std::span<std::byte> buffer) -> Result<> {
        const uint64_t offset = block * block_size;
        const auto data = buffer.first(std::min<uint64_t>(block_size, size - offset));
        TRY(read_at(file, data, offset));
        digests[block] = digest(data);
        return {};
    });
    if (!done)
        return std::unexpected(std::move(done).error());
    return digests;
}

} // namespace abey::image
