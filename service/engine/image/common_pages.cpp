// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/common_pages.h"

#include "engine/image/digest.h"
#include "engine/os/parallel.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>

namespace abey::image {

namespace {

constexpr uint64_t most_compared = block_size / 2;
// Bytes; less is compared sooner than a thread is made that could help.
constexpr uint64_t worth_threads = 4 * block_size;

// Bit 63 present, 62 swapped, 56 mapped by nobody else (told of present pages only); 0 to 54 the frame, or type and
// place of the swap.
uint64_t frame_of(uint64_t entry) {
    constexpr uint64_t frame_mask = (1ULL << 55U) - 1;
    constexpr uint64_t swapped = 1ULL << 62U;
    const bool alone = (entry >> 63U) != 0 && (entry >> 56U & 1U) != 0;
    const uint64_t frame = entry & frame_mask;
    return alone || frame == 0 ? 0 : frame | (entry & swapped);
}

// By /proc/PID/mem: process_vm_readv(2) would give the task copies of its own of pages that it shares (FOLL_PIN).
bool equal(const Fd &one, const Fd &other, const CommonPages::Stored &stored, std::span<std::byte> buffer) {
    const auto here = buffer.first(stored.length);
    const auto there = buffer.subspan(most_compared, stored.length);
    return read_at(one, here, stored.address) && read_at(other, there, stored.address) &&
           std::memcmp(here.data(), there.data(), stored.length) == 0;
}

Result<Fd> memory_of(int pid) { return open_file(fmt::format("/proc/{}/mem", pid), O_RDONLY); }

} // namespace

CommonPages::CommonPages() : buffer_(2 * most_compared, os::read_write, os::ones_own) {}

Result<std::vector<CommonPages::Stored>> CommonPages::find(int pid, const Fd &pagemap,
                                                           const std::vector<std::pair<uint64_t, uint64_t>> &ranges) {
    mapped_by_others_.clear();
    std::vector<Stored> candidates;
    const auto look = [&](uint64_t at, uint64_t entry) {
        const uint64_t frame = frame_of(entry);
        if (frame == 0)
            return;
        mapped_by_others_.push_back({at, frame});
        const auto known = places_.find(frame);
        if (known == places_.end() || known->second.address != at)
            return;
        const Place &place = known->second;
        if (!candidates.empty()) {
            Stored &last = candidates.back();
            if (last.pid == place.pid && last.address + last.length == at &&
                last.offset + last.length == place.offset && last.length < most_compared) {
                last.length += page;
                return;
            }
        }
        candidates.push_back({at, page, place.offset, place.pid});
    };
    std::vector<uint64_t> entries(4096);
    for (auto range = ranges.begin(); range != ranges.end();) {
        // ranges near each other by one call
        constexpr uint64_t near = 1U << 20U;
        auto last = range;
        while (std::next(last) != ranges.end() && std::next(last)->first - last->second <= near)
            ++last;
        for (uint64_t at = range->first; at < last->second;) {
            const size_t count = std::min<uint64_t>(entries.size(), (last->second - at) / page);
            TRY(read_at(pagemap, std::as_writable_bytes(std::span(entries).first(count)),
                        at / page * sizeof(uint64_t)));
            for (size_t i = 0; i < count; ++i, at += page) {
                while (at >= range->second)
                    ++range;
                if (at >= range->first)
                    look(at, entries[i]);
            }
        }
        range = std::next(last);
    }
    const Fd own = TRY(memory_of(pid));
    std::map<int, Fd> others;
    uint64_t length = 0;
    for (const Stored &candidate : candidates) {
        length += candidate.length;
        if (!others.contains(candidate.pid))
            others.emplace(candidate.pid, TRY(memory_of(candidate.pid)));
    }
    std::vector<char> same(candidates.size(), 0); // not bool: written by several threads
    const auto compare = [&](size_t i, std::span<std::byte> buffer) -> Result<> {
        same[i] = equal(own, others.at(candidates[i].pid), candidates[i], buffer) ? 1 : 0;
        return {};
    };
    if (length >= worth_threads || buffer_.bytes().empty()) {
        TRY(os::in_parallel(candidates.size(), 2 * most_compared, compare));
    } else {
        for (size_t i = 0; i < candidates.size(); ++i)
            TRY(compare(i, buffer_.bytes()));
    }
    std::vector<Stored> found;
    for (size_t i = 0; i < candidates.size(); ++i)
        if (same[i] != 0)
            found.push_back(candidates[i]);
    return found;
}

std::vector<CommonPages::Stretch> CommonPages::add(int pid, uint64_t address, uint64_t length, uint64_t offset) {
    std::vector<Stretch> stretches;
    const auto append = [&](uint64_t size, bool common) {
        if (size == 0)
            return;
        if (!stretches.empty() && stretches.back().common == common)
            stretches.back().length += size;
        else
            stretches.push_back({size, common});
    };
    uint64_t done = address;
    auto at = std::ranges::lower_bound(mapped_by_others_, address, {}, &Page::address);
    for (; at != mapped_by_others_.end() && at->address < address + length; ++at) {
        append(at->address - done, false);
        append(page, true);
        done = at->address + page;
        places_.insert_or_assign(at->frame, Place{at->address, offset + (at->address - address), pid});
    }
    append(address + length - done, false);
    return stretches;
}

} // namespace abey::image
