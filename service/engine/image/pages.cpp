// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/pages.h"

#include "engine/os/kernel.h"
#include "engine/os/parallel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include <sys/ioctl.h>
#include <sys/uio.h>

namespace abey::image {

namespace {

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>; // [start, end)

void append(Ranges &ranges, uint64_t start, uint64_t end) {
    if (!ranges.empty() && ranges.back().second == start)
        ranges.back().second = end;
    else
        ranges.emplace_back(start, end);
}

void append(std::vector<model::PageRun> &runs, uint64_t address, uint64_t length, uint64_t offset) {
    if (!runs.empty()) {
        model::PageRun &last = runs.back();
        if (last.address + last.length == address && last.offset + last.length == offset) {
            last.length += length;
            return;
        }
    }
    runs.push_back({address, length, offset});
}

bool has_private_pages(const model::Mapping &mapping) {
    const bool can_differ = mapping.kind == model::MappingKind::anonymous || mapping.kind == model::MappingKind::file;
    // Droppable memory (MAP_DROPPABLE, mmap(2)) holds what must not be seen twice, such as the state of random numbers:
    // its owner is prepared to find it empty.
    const bool droppable = std::ranges::find(mapping.vm_flags, "dp") != mapping.vm_flags.end();
    return !mapping.shared && can_differ && !droppable;
}

// Where to look for them: mappings near each other, with nothing but such between them, at once, since a look takes
// longer than what it finds.
Ranges private_stretches(const model::AddressSpace &space) {
    constexpr uint64_t near = 4U << 20U;
    Ranges stretches;
    bool goes_on = false;
    for (const model::Mapping &mapping : space.mappings) {
        const bool wanted = has_private_pages(mapping);
        if (wanted && goes_on && mapping.start - stretches.back().second <= near)
            stretches.back().second = mapping.end;
        else if (wanted)
            stretches.emplace_back(mapping.start, mapping.end);
        goes_on = wanted;
    }
    return stretches;
}

// `guard`: 0 when the kernel does not know guard pages as a category.
Result<> scan_by_ioctl(const Fd &pagemap, uint64_t start, uint64_t end, uint64_t guard, Ranges &ranges,
                       std::vector<model::PageRun> &guards) {
    std::array<kernel::PageRegion, 512> regions; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by the kernel
    while (start < end) {
        kernel::PagemapScan scan = {};
        scan.size = sizeof scan;
        scan.start = start;
        scan.end = end;
        scan.vec = reinterpret_cast<uint64_t>(regions.data());
        scan.vec_len = regions.size();
        // private copies only: neither pages of the file nor the common page of zeros
        scan.category_inverted = kernel::page_is_file | kernel::page_is_pfn_zero;
        scan.category_mask = kernel::page_is_file | kernel::page_is_pfn_zero;
        scan.category_anyof_mask = kernel::page_is_present | kernel::page_is_swapped;
        scan.return_mask = kernel::page_is_present | guard;
        const int n = ::ioctl(pagemap.get(), kernel::pagemap_scan, &scan);
        if (n < 0)
            return fail(errno, "cannot scan the pages at {:#x}", start);
        for (const kernel::PageRegion &region : std::span(regions).first(static_cast<size_t>(n)))
            if ((region.categories & guard) != 0) // it looks as if it were swapped
                guards.push_back({region.start, region.end - region.start, 0});
            else
                append(ranges, region.start, region.end);
        if (scan.walk_end <= start)
            return fail(EIO, "scanning the pages at {:#x} makes no progress", start);
        start = scan.walk_end;
    }
    return {};
}

// Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 62 swapped, 61 file or shared
Result<> scan_by_reading(const Fd &pagemap, uint64_t start, uint64_t end, Ranges &ranges) {
    std::array<uint64_t, 4096> entries; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read
    while (start < end) {
        const size_t count = std::min<uint64_t>(entries.size(), (end - start) / page);
        TRY(read_at(pagemap, std::as_writable_bytes(std::span(entries).first(count)), start / page * sizeof(uint64_t)));
        for (size_t i = 0; i < count; ++i)
            if ((entries.at(i) >> 62U) != 0 && ((entries.at(i) >> 61U) & 1U) == 0)
                append(ranges, start + i * page, start + (i + 1) * page);
        start += count * page;
    }
    return {};
}

// Pages that process_vm_readv does not give (PROT_NONE, for one) can still be had through /proc/PID/mem, more slowly.
class SlowMemory {
  public:
    Result<> read(int pid, uint64_t address, std::span<std::byte> data) {
        if (pid != pid_) {
            memory_ = TRY(open_file(fmt::format("/proc/{}/mem", pid), O_RDONLY));
            pid_ = pid;
        }
        TRY_IN(read_at(memory_, data, address), "process {}: memory at {:#x}", pid, address);
        return {};
    }

  private:
    Fd memory_;
    int pid_ = 0;
};

} // namespace

PageWriter::PageWriter(bool several) : several_(several), guard_(kernel::page_is_guard) {}

void PageWriter::add(Piece piece, std::vector<model::PageRun> &runs) {
    piece.offset = size_;
    append(runs, piece.address, piece.length, piece.offset);
    size_ += piece.length;
    figures_.written += piece.length / page;
    pieces_.push_back(piece);
}

Result<> PageWriter::plan(int pid, model::AddressSpace &space) {
    const Fd pagemap = TRY(open_file(fmt::format("/proc/{}/pagemap", pid), O_RDONLY));
    Ranges ranges;
    for (const auto &[start, end] : private_stretches(space)) {
        auto scanned = scan_by_ioctl(pagemap, start, end, guard_, ranges, space.guards);
        if (!scanned && scanned.error().code() == EINVAL && guard_ != 0) {
            guard_ = 0;
            scanned = scan_by_ioctl(pagemap, start, end, guard_, ranges, space.guards);
        }
        if (!scanned && (scanned.error().code() == ENOTTY || scanned.error().code() == EINVAL))
            scanned = scan_by_reading(pagemap, start, end, ranges);
        TRY_IN(std::move(scanned), "process {}, memory {:x}-{:x}", pid, start, end);
    }
    const uint64_t before = figures_.written;
    const auto stored =
        several_ ? TRY_IN(common_.find(pid, pagemap, ranges), "process {}", pid) : std::vector<CommonPages::Stored>();
    auto known = stored.begin();
    for (const auto &[start, end] : ranges)
        for (uint64_t at = start; at < end;) {
            if (known != stored.end() && known->address == at) {
                append(space.pages, at, known->length, known->offset);
                at += known->length;
                ++known;
                continue;
            }
            const uint64_t until = known == stored.end() ? end : std::min(end, known->address);
            std::vector<CommonPages::Stretch> stretches = {{until - at, false}};
            if (several_)
                stretches = common_.add(pid, at, until - at, size_);
            for (const auto &[length, common] : stretches) {
                add({.address = at, .length = length, .pid = pid, .common = common}, space.pages);
                at += length;
            }
        }
    for (const model::Mapping &mapping : space.mappings) {
        figures_.scanned += (mapping.end - mapping.start) / page;
        figures_.skipped += (mapping.end - mapping.start) / page;
    }
    figures_.skipped -= figures_.written - before;
    return {};
}

Result<> PageWriter::plan(const Fd &file, model::SharedMemory &memory) {
    const uint64_t size = memory.size;
    figures_.scanned += (size + page - 1) / page;
    for (uint64_t at = 0; at < size;) {
        const off_t data = ::lseek(file.get(), static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        const off_t hole = data < 0 ? data : ::lseek(file.get(), data, SEEK_HOLE);
        if (hole < 0)
            return fail(errno, "shared memory {}: cannot find its data", memory.id);
        const uint64_t start = static_cast<uint64_t>(data) / page * page;
        const uint64_t end = (std::min(static_cast<uint64_t>(hole), size) + page - 1) / page * page;
        if (end <= start)
            break;
        add({.address = start, .length = end - start, .file = &file}, memory.pages);
        at = end;
    }
    return {};
}

Result<> PageWriter::fill(std::span<std::byte> block, uint64_t offset) const {
    auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                                  [](uint64_t value, const Piece &p) { return value < p.offset; });
    --piece;
    std::array<iovec, IOV_MAX> remote; // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
    SlowMemory slow;
    while (!block.empty()) {
        const uint64_t skip = offset - piece->offset;
        if (piece->file != nullptr) {
            const auto part = block.first(std::min<uint64_t>(block.size(), piece->length - skip));
            const uint64_t at = piece->address + skip;
            // the last page of the object may reach beyond its end: the rest of the block's page is zeros
            const ssize_t n = ::pread(piece->file->get(), part.data(), part.size(), static_cast<off_t>(at));
            if (n < 0)
                return fail(errno, "cannot read shared memory at {:#x}", at);
            std::fill(part.begin() + n, part.end(), std::byte{0});
            block = block.subspan(part.size());
            offset += part.size();
            ++piece;
            continue;
        }
        if (piece->common) {
            const auto part = block.first(std::min<uint64_t>(block.size(), piece->length - skip));
            TRY(slow.read(piece->pid, piece->address + skip, part));
            block = block.subspan(part.size());
            offset += part.size();
            ++piece;
            continue;
        }
        const int pid = piece->pid;
        size_t count = 0;
        size_t length = 0;
        for (uint64_t inner = skip; count < remote.size() && length < block.size() && piece != pieces_.end() &&
                                    piece->pid == pid && piece->file == nullptr && !piece->common;
             inner = 0) {
            const size_t part = std::min<uint64_t>(piece->length - inner, block.size() - length);
            remote.at(count++) = {reinterpret_cast<void *>(piece->address + inner), part}; // NOLINT: a remote address
            length += part;
            if (inner + part == piece->length)
                ++piece;
            else
                break;
        }
        iovec local{block.data(), length};
        const ssize_t n = ::process_vm_readv(pid, &local, 1, remote.data(), count, 0);
        if (n < 0 && errno == ESRCH)
            return fail(ESRCH, "process {} has gone while its memory was read", pid);
        size_t done = n < 0 ? 0 : static_cast<size_t>(n);
        for (size_t i = 0, at = 0; i < count && done < length; at += remote.at(i).iov_len, ++i) {
            const auto &part = remote.at(i);
            if (at + part.iov_len <= done)
                continue;
            TRY(slow.read(pid, reinterpret_cast<uint64_t>(part.iov_base), block.subspan(at, part.iov_len)));
            done = at + part.iov_len;
        }
        block = block.subspan(length);
        offset += length;
    }
    return {};
}

Result<std::vector<Digest>> PageWriter::write(const Fd &pages) const {
    const size_t count = (size_ + block_size - 1) / block_size;
    std::vector<Digest> digests(count);
    const auto write_block = [&](size_t block, std::span<std::byte> buffer) -> Result<> {
        const uint64_t offset = block * block_size;
        const auto data = buffer.first(std::min<uint64_t>(block_size, size_ - offset));
        TRY(fill(data, offset));
        digests[block] = digest(data);
        return write_at(pages, data, offset);
    };
    TRY(os::in_parallel(count, std::min<uint64_t>(block_size, size_), write_block));
    return digests;
}

} // namespace abey::image
