// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/digest.h"

#include "engine/os/parallel.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace abey::image {

namespace {

// No data from here on for so many bytes: they read as zeros (lseek(2), SEEK_DATA).
bool is_hole(const Fd &file, uint64_t offset, uint64_t length) {
    const off64_t data = ::lseek64(file.get(), static_cast<off64_t>(offset), SEEK_DATA);
    return data < 0 ? errno == ENXIO : static_cast<uint64_t>(data) >= offset + length;
}

} // namespace

Digest digest(std::span<const std::byte> data) {
    const XXH128_hash_t hash = XXH3_128bits(data.data(), data.size());
    return {hash.low64, hash.high64};
}

Digest digest_of_hole() {
    static const Digest of_zeros = digest(std::vector<std::byte>(block_size));
    return of_zeros;
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
    // behind the end is no hole: that the file is too short shall be found by reading
    const bool whole = static_cast<uint64_t>(TRY(stat_of(file)).st_size) >= size;
    const auto digest_block = [&](size_t block, std::span<std::byte> buffer) -> Result<> {
        const uint64_t offset = block * block_size;
        const auto data = buffer.first(std::min<uint64_t>(block_size, size - offset));
        if (whole && data.size() == block_size && is_hole(file, offset, block_size)) {
            digests[block] = digest_of_hole();
            return {};
        }
        TRY(read_at(file, data, offset));
        digests[block] = digest(data);
        return {};
    };
    TRY(os::in_parallel(count, std::min<uint64_t>(block_size, size), digest_block));
    return digests;
}

} // namespace abey::image
