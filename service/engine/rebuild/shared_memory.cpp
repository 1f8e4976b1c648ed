// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Memory with an inode on the kernel's own tmpfs: memfd_create(2), shared anonymous mappings, System V segments.
#include "engine/os/mapped.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/segment.h"

#include <algorithm>
#include <set>
#include <vector>

#include <linux/mman.h>
#include <sys/mman.h>

namespace abey::rebuild {
namespace shared_memory {
namespace {

// What of an object is mapped into the worker at a time while it is filled.
constexpr uint64_t window = uint64_t{8} << 20U;
constexpr uint64_t page = 4096;

// Context::state: one descriptor for each, until finish().
struct Memories {
    std::map<model::ObjRef, Fd> made;
    std::set<model::ObjRef> handed_out;
    std::set<model::ObjRef> others; // segments that others go on using: their contents stay
};

constexpr const char *more_huge_pages = " in huge pages; raise vm.nr_hugepages";

bool is_zero(std::span<const std::byte> bytes) {
    return std::ranges::all_of(bytes, [](std::byte one) { return one == std::byte{0}; });
}

uint64_t page_aligned(uint64_t size) { return (size + page - 1) & ~(page - 1); }

Result<Fd> make_memfd(const model::SharedMemory &memory) {
    const unsigned huge = memory.huge_pages ? MFD_HUGETLB | memory.huge_page_shift << MAP_HUGE_SHIFT : 0;
    Fd fd(::memfd_create(memory.name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | huge));
    if (!fd)
        return fail(errno, "cannot make the memfd {}", memory.name);
    if (::ftruncate(fd.get(), static_cast<off_t>(memory.size)) < 0)
        return fail(errno, "memfd {}: cannot make it {} bytes long", memory.name, memory.size);
    if (::fchown(fd.get(), memory.uid, memory.gid) < 0 || ::fchmod(fd.get(), memory.mode) < 0)
        return fail(errno, "memfd {}: cannot set owner and mode", memory.name);
    return fd;
}

// The kernel makes the object with the first mapping; map_files is the way from there to a descriptor.
Result<Fd> make_anonymous(const model::SharedMemory &memory) {
    const uint64_t size = page_aligned(memory.size);
    const int huge = memory.huge_pages ? MAP_HUGETLB | static_cast<int>(memory.huge_page_shift << MAP_HUGE_SHIFT) : 0;
    const os::Mapped mapping(size, os::read_write, os::with_children | MAP_NORESERVE | huge);
    if (!mapping)
        return fail(errno, "cannot make {} bytes of shared memory{}", size, memory.huge_pages ? more_huge_pages : "");
    const auto start = reinterpret_cast<uint64_t>(mapping.at());
    return abey::open_file(fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + size), O_RDWR);
}

// Mapped and made page by page: one without contents is not taken from the few that there are.
Result<> fill_huge(const Fd &fd, const Fd &pages, const model::SharedMemory &memory, const model::PageRun &run) {
    const uint64_t size = uint64_t{1} << memory.huge_page_shift;
    std::vector<std::byte> contents(window);
    TRY(read_at(pages, std::span(contents).first(run.length), run.offset));
    for (uint64_t done = 0; done < run.length;) {
        const uint64_t at = run.address + done;
        const uint64_t start = at / size * size;
        const uint64_t part = std::min(run.length - done, start + size - at);
        const auto bytes = std::span(contents).subspan(done, part);
        done += part;
        if (is_zero(bytes))
            continue;
        const os::Mapped mapping(size, os::read_write, MAP_SHARED, fd.get(), start);
        if (!mapping)
            return fail(errno, "cannot map {} bytes of shared memory{}", size, more_huge_pages);
        // an access without a page would be a signal, this an error
        if (::madvise(mapping.at(), size, MADV_POPULATE_WRITE) < 0)
            return fail(errno, "cannot have {} bytes of shared memory{}", size, more_huge_pages);
        std::ranges::copy(bytes, mapping.bytes().begin() + static_cast<ptrdiff_t>(at - start));
    }
    return {};
}

Result<> fill_run(const Fd &fd, const Fd &pages, const model::SharedMemory &memory, model::PageRun run) {
    const uint64_t end = page_aligned(memory.size);
    if (run.address % page != 0 || run.address >= end || run.length > end - run.address)
        return fail(EBADMSG, "the checkpoint has pages beyond the end of a shared memory object");
    while (run.length != 0) {
        const uint64_t part = std::min(run.length, window);
        if (memory.huge_pages) {
            TRY(fill_huge(fd, pages, memory, {run.address, part, run.offset}));
        } else {
            const os::Mapped mapping(part, os::read_write, MAP_SHARED, fd.get(), run.address);
            if (!mapping)
                return fail(errno, "cannot map {} bytes of shared memory", part);
            TRY(read_at(pages, mapping.bytes(), run.offset));
        }
        run.address += part;
        run.offset += part;
        run.length -= part;
    }
    return {};
}

Result<const Fd *> made(Context &context, model::ObjRef id) {
    auto &memories = context.state<Memories>();
    if (const auto known = memories.made.find(id); known != memories.made.end())
        return &known->second;
    const model::SharedMemory *memory = TRY(find(context.tree.shared_memory, id));
    Fd fd;
    switch (memory->kind) {
    case model::SharedMemory::Kind::memfd:
        fd = TRY(make_memfd(*memory));
        break;
    case model::SharedMemory::Kind::anonymous:
        fd = TRY(make_anonymous(*memory));
        break;
    case model::SharedMemory::Kind::system_v: {
        Segment segment = TRY(open_segment(context, *memory));
        fd = std::move(segment.file);
        if (segment.in_use)
            memories.others.insert(id);
        break;
    }
    }
    return &memories.made.emplace(id, std::move(fd)).first->second;
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const model::ObjRef id = std::get<model::SharedMemoryFile>(file.payload).memory;
    const Fd *base = TRY(made(context, id));
    // The open file that memfd_create(2) made does not count as one that writes, so what it holds can be executed; one
    // that was opened through /proc does.
    const bool memfd = context.tree.shared_memory.at(id).kind == model::SharedMemory::Kind::memfd;
    if (memfd && (file.flags & (O_ACCMODE | O_PATH)) == O_RDWR &&
        context.state<Memories>().handed_out.insert(id).second) {
        Fd first(::fcntl(base->get(), F_DUPFD_CLOEXEC, 0));
        if (!first)
            return fail(errno, "cannot duplicate the descriptor of a memfd");
        return first;
    }
    return abey::open_file(fmt::format("/proc/self/fd/{}", base->get()), static_cast<int>(reopen_flags(file.flags)));
}

Result<> fill(Context &context) {
    for (const auto &[id, memory] : context.tree.shared_memory) {
        const Fd *fd = TRY(made(context, id));
        if (context.state<Memories>().others.contains(id))
            continue;
        for (const auto &run : memory.pages)
            TRY_IN(fill_run(*fd, context.pages, memory, run), "shared memory {}", id);
    }
    return {};
}

// Seals forbid just what filling and mapping need, so they come last.
Result<> finish(Context &context) {
    auto &memories = context.state<Memories>();
    for (const auto &[id, fd] : memories.made) {
        const auto &memory = context.tree.shared_memory.at(id);
        if (memory.kind == model::SharedMemory::Kind::system_v)
            TRY(finish_segment(context, memory));
        if (memory.kind == model::SharedMemory::Kind::memfd && memory.seals != 0 &&
            ::fcntl(fd.get(), F_ADD_SEALS, memory.seals) < 0)
            return fail(errno, "memfd {}: cannot seal it", memory.name);
    }
    memories.made.clear();
    return {};
}

} // namespace
} // namespace shared_memory

Kind shared_memory_kind() {
    return {.name = "shared memory",
            .payload = payload_index<model::SharedMemoryFile>(),
            .create = shared_memory::create,
            .fill = shared_memory::fill,
            .in_task = nullptr,
            .finish = shared_memory::finish};
}

} // namespace abey::rebuild
