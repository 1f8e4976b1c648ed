// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/fill_husk.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/objects.h"
#include "engine/rebuild/own_namespaces.h"
#include "engine/rebuild/page_copy.h"
#include "engine/rebuild/page_runs.h"
#include "engine/rebuild/request_ring.h"
#include "engine/rebuild/vdso.h"

#include <algorithm>
#include <cerrno>
#include <map>

#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "engine/os/kernel.h"

namespace abey::rebuild {

namespace {

constexpr uint64_t large_run = 64U << 10U;
constexpr uint64_t most_at_once = 16U << 20U; // what was populated is still in the cache when it is read into
constexpr size_t most_segments = 512;
constexpr uint64_t page_size = 4096;

// Descriptors in the husk's still empty table: numbers are given out from 0.
class Borrowed {
  public:
    Borrowed(Context &context, Husk &husk, Calls &calls) : context_(context), husk_(husk), calls_(calls) {}

    Result<int> number_of(model::ObjRef file) {
        if (const auto known = numbers_.find(file); known != numbers_.end())
            return known->second;
        const int source = TRY(context_.open_file(file));
        return numbers_[file] = TRY(take(source, fmt::format("open file {}", file)));
    }
    Result<int> take(int worker_fd, std::string what) {
        TRY(calls_.room_for());
        const size_t call = calls_.batch().must(fmt::format("cannot take {}", what), SYS_pidfd_getfd,
                                                husk_.shop().worker_number, worker_fd, 0);
        calls_.expect(call, next_, std::move(what));
        return next_++;
    }
    Result<> close_all() {
        TRY(calls_.room_for());
        if (next_ > 0)
            calls_.batch().must("close_range", SYS_close_range, 0U, static_cast<unsigned>(next_ - 1), 0U);
        return {};
    }

  private:
    Context &context_;
    Husk &husk_;
    Calls &calls_;
    std::map<model::ObjRef, int> numbers_;
    int next_ = 0;
};

bool has_pages(const model::AddressSpace &space, const model::Mapping &mapping) {
    const auto run = std::upper_bound(space.pages.begin(), space.pages.end(), mapping.start,
                                      [](uint64_t at, const model::PageRun &r) { return at < r.address + r.length; });
    return run != space.pages.end() && run->address < mapping.end;
}

// The System V segment that is attached here as a whole: only shmat(2) gives it a mapping that counts as one. `ns`: the
// ipc namespace in which that would look for it.
const model::SharedMemory *segment_at(const model::Tree &tree, model::ObjRef ns, const model::Mapping &mapping) {
    const auto file = tree.open_files.find(mapping.file);
    if (mapping.kind != model::MappingKind::file || mapping.file_offset != 0 || file == tree.open_files.end())
        return nullptr;
    const auto *shared = std::get_if<model::SharedMemoryFile>(&file->second.payload);
    const auto memory = shared == nullptr ? tree.shared_memory.end() : tree.shared_memory.find(shared->memory);
    if (memory == tree.shared_memory.end() || memory->second.kind != model::SharedMemory::Kind::system_v ||
        memory->second.ipc_namespace != ns)
        return nullptr;
    const uint64_t size = (memory->second.size + page_size - 1) & ~(page_size - 1);
    return mapping.end - mapping.start == size ? &memory->second : nullptr;
}

void attach(const model::SharedMemory &segment, const model::Mapping &mapping, os::Batch &batch) {
    const int write = (mapping.protection & PROT_WRITE) != 0 ? 0 : SHM_RDONLY;
    const int execute = (mapping.protection & PROT_EXEC) != 0 ? SHM_EXEC : 0;
    batch.must(fmt::format("cannot attach System V shared memory {} at {:x}", segment.identifier, mapping.start),
               SYS_shmat, segment.identifier, mapping.start, write | execute);
    batch.must("mprotect", SYS_mprotect, mapping.start, mapping.end - mapping.start, mapping.protection);
}

bool marked(const model::Mapping &mapping, std::string_view flag) {
    return std::ranges::find(mapping.vm_flags, flag) != mapping.vm_flags.end();
}

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>; // [start, end), by address

// Could what lies in memory as `held` be the mapping `wanted` where they overlap? Marks that cannot be taken back must
// be the same.
bool compatible(const model::Mapping &held, const model::Mapping &wanted) {
    return !wanted.shared && held.kind == wanted.kind && held.file == wanted.file &&
           held.huge_page_shift == wanted.huge_page_shift && held.grows_down == wanted.grows_down &&
           (!held.grows_down || wanted.start >= held.start) && // a stack must stay one mapping
           (held.kind != model::MappingKind::file ||
            held.file_offset - held.start == wanted.file_offset - wanted.start) &&
           std::ranges::all_of(std::array{"nr", "hg", "nh", "dp"},
                               [&](std::string_view flag) { return marked(held, flag) == marked(wanted, flag); });
}

// Where what is held stays because it is wanted.
Ranges kept_of(const Held &held, const std::vector<model::Mapping> &wanted) {
    Ranges kept;
    auto first = held.mappings.begin();
    for (const model::Mapping &mapping : wanted) {
        while (first != held.mappings.end() && first->end <= mapping.start)
            ++first;
        for (auto each = first; each != held.mappings.end() && each->start < mapping.end; ++each)
            if (compatible(*each, mapping))
                kept.emplace_back(std::max(each->start, mapping.start), std::min(each->end, mapping.end));
    }
    return kept;
}

// The parts of [start, end) that lie in `ranges`, or between them, told to `inside` and `outside`.
Result<> split(uint64_t start, uint64_t end, const Ranges &ranges,
               const std::function<Result<>(uint64_t, uint64_t)> &inside,
               const std::function<Result<>(uint64_t, uint64_t)> &outside) {
    auto range = std::ranges::upper_bound(ranges, start, {}, &Ranges::value_type::second);
    for (; range != ranges.end() && range->first < end; ++range) {
        const uint64_t from = std::max(start, range->first);
        const uint64_t until = std::min(end, range->second);
        if (from > start)
            TRY(outside(start, from));
        TRY(inside(from, until));
        start = until;
    }
    if (start < end)
        TRY(outside(start, end));
    return {};
}

Result<> unmap_others(const Held &held, const Ranges &kept, Calls &calls) {
    const auto keep = [](uint64_t, uint64_t) { return Result<>(); };
    const auto unmap = [&](uint64_t start, uint64_t end) -> Result<> {
        TRY(calls.room_for());
        calls.batch().must("munmap", SYS_munmap, start, end - start);
        return {};
    };
    for (const model::Mapping &mapping : held.mappings)
        TRY(split(mapping.start, mapping.end, kept, keep, unmap));
    return {};
}

Result<> map(const model::AddressSpace &space, const model::Mapping &mapping, const Ranges &kept, Calls &calls,
             Borrowed &files) {
    const int type = marked(mapping, "dp") ? kernel::map_droppable : mapping.shared ? MAP_SHARED : MAP_PRIVATE;
    int flags = MAP_FIXED_NOREPLACE | type;
    if (mapping.grows_down)
        flags |= MAP_GROWSDOWN;
    if (marked(mapping, "nr"))
        flags |= MAP_NORESERVE;
    int number = -1;
    if (mapping.kind == model::MappingKind::anonymous)
        flags |= MAP_ANONYMOUS | (mapping.huge_page_shift == 0
                                      ? 0
                                      : MAP_HUGETLB | static_cast<int>(mapping.huge_page_shift << MAP_HUGE_SHIFT));
    else
        number = TRY(files.number_of(mapping.file));
    const int protection = mapping.protection | (!mapping.shared && has_pages(space, mapping) ? PROT_WRITE : 0);
    const auto protect = [&](uint64_t start, uint64_t end) -> Result<> {
        TRY(calls.room_for());
        calls.batch().must("mprotect", SYS_mprotect, start, end - start, protection);
        return {};
    };
    const auto make = [&](uint64_t start, uint64_t end) -> Result<> {
        TRY(calls.room_for());
        calls.batch().must(fmt::format("cannot map {:x}-{:x}{}", start, end,
                                       mapping.huge_page_shift == 0 ? "" : " (huge pages; raise vm.nr_hugepages)"),
                           SYS_mmap, start, end - start, protection, flags, number,
                           mapping.file_offset + (start - mapping.start));
        return {};
    };
    return split(mapping.start, mapping.end, kept, protect, make);
}

Result<> map_all(const model::Tree &tree, model::ObjRef ns, const model::AddressSpace &space, const Ranges &kept,
                 Calls &calls, Borrowed &files) {
    for (const model::Mapping &mapping : space.mappings) {
        if (mapping.kind == model::MappingKind::request_ring) { // its place is reserved
            TRY(calls.room_for());
            calls.batch().must("mmap", SYS_mmap, mapping.start, mapping.end - mapping.start, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        }
        if (mapping.kind != model::MappingKind::anonymous && mapping.kind != model::MappingKind::file)
            continue;
        if (const auto *segment = segment_at(tree, ns, mapping)) {
            TRY(calls.room_for());
            attach(*segment, mapping, calls.batch());
            continue;
        }
        TRY(map(space, mapping, kept, calls, files));
    }
    return {};
}

// What is held once the husk has `early` besides the parts of `held` that are kept; by address.
std::vector<model::Mapping> joined(const std::vector<model::Mapping> &held, const Ranges &kept,
                                   std::vector<model::Mapping> early) {
    Ranges taken;
    for (const model::Mapping &mapping : early)
        taken.emplace_back(mapping.start, mapping.end);
    const auto nothing = [](uint64_t, uint64_t) { return Result<>(); };
    for (const model::Mapping &mapping : held) {
        const auto keep = [&](uint64_t start, uint64_t end) -> Result<> {
            model::Mapping part = mapping;
            part.start = start;
            part.end = end;
            part.file_offset += start - mapping.start;
            early.push_back(std::move(part));
            return {};
        };
        const auto unless_taken = [&](uint64_t start, uint64_t end) { return split(start, end, taken, nothing, keep); };
        (void)split(mapping.start, mapping.end, kept, unless_taken, nothing); // cannot fail: these do not
    }
    std::ranges::sort(early, {}, &model::Mapping::start);
    return early;
}

// What of the held pages is left in the parts that are kept.
Runs pages_in(const Runs &pages, const Ranges &kept) {
    Runs where;
    for (const auto &[start, end] : kept)
        where.push_back({start, end - start, 0});
    return part_of(pages, where, Match::address, true);
}

// The task itself reads its pages out of the image: one copy, from the page cache to where they belong.
Result<> read_pages(const Runs &runs, int pages, Calls &calls) {
    const auto read = [&](uint64_t address, uint64_t length, uint64_t offset) -> Result<> {
        TRY(calls.room_for());
        // a fault for each page would cost half as much again; what this cannot do, reading does
        calls.batch().may(SYS_madvise, address, length, MADV_POPULATE_WRITE);
        const size_t call =
            calls.batch().must("cannot read pages from the image", SYS_pread64, pages, address, length, offset);
        calls.expect(call, static_cast<long>(length), "reading pages from the image");
        return {};
    };
    for (size_t i = 0; i < runs.size();) {
        if (runs[i].length >= large_run) {
            for (uint64_t done = 0; done < runs[i].length; done += most_at_once)
                TRY(read(runs[i].address + done, std::min(runs[i].length - done, most_at_once), runs[i].offset + done));
            ++i;
            continue;
        }
        std::vector<iovec> segments;
        uint64_t length = 0;
        const uint64_t offset = runs[i].offset;
        for (; i < runs.size() && runs[i].length < large_run && segments.size() < most_segments &&
               runs[i].offset == offset + length;
             ++i) {
            segments.push_back({reinterpret_cast<void *>(runs[i].address), runs[i].length}); // NOLINT: the husk's
            length += runs[i].length;
        }
        TRY(calls.room_for(segments.size() * sizeof(iovec)));
        const uint64_t at = calls.batch().put(std::as_bytes(std::span(segments)));
        const size_t call =
            calls.batch().must("cannot read pages from the image", SYS_preadv, pages, at, segments.size(), offset, 0);
        calls.expect(call, static_cast<long>(length), "reading pages from the image");
    }
    return {};
}

// `missing`, where the husk has the wrong ones (of `present`) or none.
Result<> bring_pages(const Context &context, Husk &husk, const std::vector<model::Mapping> &mappings,
                     const Runs &missing, const Runs &present, Borrowed &files, Calls &calls) {
    const Runs absent = part_of(missing, present, Match::address, false);
    const Runs left = united(TRY(copy_pages(context, husk, calls, mappings, absent)),
                             part_of(missing, present, Match::address, true));
    if (left.empty())
        return {};
    const int pages = TRY(files.take(context.pages.get(), "the image's pages"));
    return read_pages(left, pages, calls);
}

// Before the pages are read: whether they are to be huge.
Result<> advise_sizes(const std::vector<model::Mapping> &mappings, Calls &calls) {
    for (const model::Mapping &mapping : mappings)
        for (const model::Bytes &flag : mapping.vm_flags)
            if (flag == "hg" || flag == "nh") {
                TRY(calls.room_for());
                calls.batch().may(SYS_madvise, mapping.start, mapping.end - mapping.start,
                                  flag == "hg" ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
            }
    return {};
}

Result<> finish_mappings(const model::AddressSpace &space, Calls &calls) {
    static const std::map<std::string_view, int> advice = {{"dd", MADV_DONTDUMP},   {"dc", MADV_DONTFORK},
                                                           {"wf", MADV_WIPEONFORK}, {"mg", MADV_MERGEABLE},
                                                           {"sr", MADV_SEQUENTIAL}, {"rr", MADV_RANDOM}};
    for (const model::Mapping &mapping : space.mappings) {
        if (mapping.kind != model::MappingKind::anonymous && mapping.kind != model::MappingKind::file)
            continue;
        const uint64_t length = mapping.end - mapping.start;
        TRY(calls.room_for(mapping.anonymous_name.size()));
        auto &batch = calls.batch();
        if (!mapping.shared && (mapping.protection & PROT_WRITE) == 0 && has_pages(space, mapping))
            batch.must("mprotect", SYS_mprotect, mapping.start, length, mapping.protection);
        const Runs guards = part_of(space.guards, {{mapping.start, length, 0}}, Match::address, true);
        for (const model::PageRun &guard : guards) {
            TRY(calls.room_for(mapping.anonymous_name.size()));
            batch.must("cannot make guard pages", SYS_madvise, guard.address, guard.length, kernel::madv_guard_install);
        }
        const bool on_fault = std::ranges::find(mapping.vm_flags, "lf") != mapping.vm_flags.end();
        for (const model::Bytes &flag : mapping.vm_flags) {
            if (const auto known = advice.find(flag); known != advice.end())
                batch.may(SYS_madvise, mapping.start, length, known->second);
            else if (flag == "lo" && !guards.empty()) // locked all the same, but the kernel complains of the guards
                batch.may(SYS_mlock2, mapping.start, length, on_fault ? MLOCK_ONFAULT : 0);
            else if (flag == "lo")
                batch.must(fmt::format("cannot lock {:x}-{:x} in memory", mapping.start, mapping.end), SYS_mlock2,
                           mapping.start, length, on_fault ? MLOCK_ONFAULT : 0);
        }
        if (!mapping.anonymous_name.empty()) // only a name to look at; kernels without it lose nothing else
            batch.may(SYS_prctl, kernel::pr_set_vma, kernel::pr_set_vma_anon_name, mapping.start, length,
                      batch.put_string(mapping.anonymous_name));
    }
    return {};
}

// After all that changes a mapping.
Result<> seal_mappings(const model::AddressSpace &space, Calls &calls) {
    for (const model::Mapping &mapping : space.mappings) {
        if (!marked(mapping, os::sealed))
            continue;
        TRY(calls.room_for());
        calls.batch().must(fmt::format("cannot seal {:x}-{:x} (mseal(2), of Linux 6.10)", mapping.start, mapping.end),
                           kernel::mseal, mapping.start, mapping.end - mapping.start, 0);
    }
    return {};
}

// As it is to be here. `stand_in`: where that of another kernel's vDSO is put, for whoever makes one.
Result<model::AddressSpace> read_space(Context &context, const model::Task &task,
                                       std::optional<OtherVdso::StandIn> *stand_in = nullptr) {
    model::AddressSpace space = TRY(context.details.address_space(task.address_space));
    if (context.other_vdso != nullptr) {
        auto made = TRY(context.other_vdso->adapt(space));
        if (stand_in != nullptr)
            *stand_in = std::move(made);
    }
    return space;
}

} // namespace

Result<> seed_memory(Context &context, Husk &husk, const model::Task &task,
                     const std::vector<const model::Task *> &children) {
    if (task.address_space == 0 || children.empty())
        return {};
    const model::AddressSpace space = TRY(read_space(context, task));
    Runs common;
    for (const model::Task *child : children)
        if (child->address_space != 0) {
            const model::AddressSpace other = TRY(context.details.address_space(child->address_space));
            common = united(common, part_of(space.pages, other.pages, Match::content, true));
        }
    Held held = husk.held() ? *husk.held() : Held{{}, {}, husk.shop().special};
    common = part_of(common, held.pages, Match::content, false);
    if (common.empty())
        return {};

    // Only mappings that can be made before all else, mount namespaces among it: they lead to nothing, or to a file of
    // the session's.
    const auto can_be_early = [&](const model::Mapping &mapping) {
        if (mapping.shared || marked(mapping, "dp"))
            return false;
        const auto file = context.tree.open_files.find(mapping.file);
        const auto *disk = mapping.kind == model::MappingKind::file && file != context.tree.open_files.end()
                               ? std::get_if<model::DiskFile>(&file->second.payload)
                               : nullptr;
        const auto inode = disk == nullptr ? context.tree.inodes.end() : context.tree.inodes.find(disk->inode);
        return mapping.kind == model::MappingKind::anonymous ||
               (inode != context.tree.inodes.end() && inode->second.mount_namespace == 0);
    };
    std::vector<model::Mapping> early;
    Ranges places;
    for (const model::Mapping &mapping : space.mappings)
        if (can_be_early(mapping) &&
            !part_of(common, {{mapping.start, mapping.end - mapping.start, 0}}, Match::address, true).empty()) {
            early.push_back(mapping);
            places.emplace_back(mapping.start, mapping.end);
        }
    common = pages_in(common, places);
    // A child inherits the vDSO as well: it must find all parts of it.
    auto special = placed(held.special, space);
    if (common.empty() || !special)
        return {};

    Calls calls(husk);
    Borrowed files(context, husk, calls);
    const Ranges kept = kept_of(held, space.mappings);
    TRY(unmap_others(held, kept, calls));
    TRY(place_vdso(husk, held.special, space, calls));
    held.special = *std::move(special);
    for (const model::Mapping &mapping : early)
        TRY(map(space, mapping, kept, calls, files));
    TRY(advise_sizes(early, calls));
    TRY(bring_pages(context, husk, early, common, held.pages, files, calls));
    TRY(files.close_all());
    TRY(calls.flush());
    held.pages = united(common, pages_in(held.pages, kept));
    held.mappings = joined(held.mappings, kept, early);
    husk.hold(std::move(held));
    return {};
}

Result<> fill_memory(Context &context, Husk &husk, const model::Task &task) {
    std::optional<OtherVdso::StandIn> stand_in;
    const model::AddressSpace space = TRY(read_space(context, task, &stand_in));
    static const Held nothing;
    const Held &held = husk.held() ? *husk.held() : nothing;
    const Ranges kept = kept_of(held, space.mappings);
    const Runs present = pages_in(held.pages, kept);
    Calls calls(husk);
    Borrowed files(context, husk, calls);
    TRY(unmap_others(held, kept, calls));
    TRY(place_vdso(husk, husk.held() ? held.special : husk.shop().special, space, calls));
    TRY(map_all(context.tree, namespace_of(context.tree, task, "ipc"), space, kept, calls, files));
    if (stand_in)
        TRY(put_stand_in(husk, *stand_in, calls));
    if (!space.rings.empty()) {
        const Fd null = TRY(abey::open_file("/dev/null", O_WRONLY));
        const int number = TRY(files.take(null.get(), "/dev/null"));
        TRY(calls.flush());
        TRY(make_request_rings(husk, space, number));
    }
    TRY(advise_sizes(space.mappings, calls));
    for (const model::PageRun &foreign : part_of(present, space.pages, Match::address, false)) {
        TRY(calls.room_for());
        calls.batch().must("madvise", SYS_madvise, foreign.address, foreign.length, MADV_DONTNEED);
    }
    TRY(bring_pages(context, husk, space.mappings, part_of(space.pages, present, Match::content, false), present, files,
                    calls));
    TRY(finish_mappings(space, calls));
    TRY(seal_mappings(space, calls));

    const int executable = space.executable == 0 ? -1 : TRY(files.number_of(space.executable));
    const model::MemoryLayout &own = space.layout;
    TRY(calls.room_for(sizeof(prctl_mm_map) + own.auxv.size()));
    prctl_mm_map layout = {};
    layout.start_code = own.start_code;
    layout.end_code = own.end_code;
    layout.start_data = own.start_data;
    layout.end_data = own.end_data;
    layout.start_brk = own.start_brk;
    layout.brk = own.brk;
    layout.start_stack = own.start_stack;
    layout.arg_start = own.arg_start;
    layout.arg_end = own.arg_end;
    layout.env_start = own.env_start;
    layout.env_end = own.env_end;
    layout.auxv = reinterpret_cast<__u64 *>(calls.batch().put(std::as_bytes(std::span(own.auxv)))); // NOLINT
    layout.auxv_size = static_cast<__u32>(own.auxv.size());
    layout.exe_fd = static_cast<__u32>(executable);
    const uint64_t at = calls.batch().put(layout);
    calls.batch().must("cannot set the memory layout and executable", SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, at,
                       sizeof layout, 0);
    TRY(files.close_all());
    return calls.flush();
}

} // namespace abey::rebuild
