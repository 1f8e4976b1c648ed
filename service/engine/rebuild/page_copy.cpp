// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/page_copy.h"

#include "engine/os/mapped.h"
#include "engine/os/parallel.h"

#include <algorithm>
#include <cerrno>
#include <fstream>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace abey::rebuild {

namespace {

constexpr uint64_t least_run = 256U << 10U;
constexpr uint64_t least_worth = 4U << 20U; // below, preparing costs more than it saves
constexpr uint64_t largest_piece = 2U << 20U;

// Whether all memory may get huge pages: reading into those is as fast, and leaves them huge.
bool huge_by_default() {
    std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
    std::string setting;
    return std::getline(file, setting) && setting.find("[always]") != std::string::npos;
}

bool can_be_copied(const model::Mapping &mapping, bool huge) {
    const auto has = [&](std::string_view flag) {
        return std::ranges::find(mapping.vm_flags, flag) != mapping.vm_flags.end();
    };
    return mapping.kind == model::MappingKind::anonymous && !mapping.shared && mapping.huge_page_shift == 0 &&
           !has("dp") && !has("hg") && (!huge || has("nh"));
}

uint64_t size_of(const Runs &runs) {
    uint64_t size = 0;
    for (const model::PageRun &run : runs)
        size += run.length;
    return size;
}

Result<> copy(const Fd &memory, const Fd &pages, const model::PageRun &run) {
    // mapped while they are copied: never more of the image than that in our memory
    const os::Mapped source(run.length, PROT_READ, MAP_SHARED | MAP_POPULATE, pages.get(), run.offset);
    if (!source)
        return fail(errno, "cannot map the image's pages");
    for (uint64_t done = 0; done < run.length;) {
        uffdio_copy copy = {};
        copy.dst = run.address + done;
        copy.src = reinterpret_cast<uint64_t>(source.at()) + done;
        copy.len = run.length - done;
        const bool ended = ::ioctl(memory.get(), UFFDIO_COPY, &copy) == 0;
        const int error = errno;
        if (copy.copy > 0)
            done += static_cast<uint64_t>(copy.copy);
        else if (!ended && error != EAGAIN) // EFAULT: the image is shorter than it was, or cannot be read
            return fail(error, "cannot copy pages of the image to {:x}", run.address + done);
    }
    return {};
}

// A userfaultfd of the husk's memory, in our hands; none where the kernel or a filter of its calls forbids it.
Result<Fd> memory_of(Husk &husk, Calls &calls) {
    TRY(calls.room_for());
    // what needs CAP_SYS_PTRACE otherwise: to handle faults of the kernel, of which there are none
    const size_t made = calls.batch().may(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    TRY(calls.run_only());
    const long number = calls.batch().result(made);
    calls.batch().clear();
    if (number < 0)
        return Fd();
    const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, husk.pid(), 0)));
    Fd memory(pidfd ? static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)) : -1);
    calls.batch().must("close", SYS_close, number);
    TRY(calls.flush());
    uffdio_api api = {};
    api.api = UFFD_API;
    return memory && ::ioctl(memory.get(), UFFDIO_API, &api) == 0 ? std::move(memory) : Fd();
}

bool prepare(const Fd &memory, const model::Mapping &mapping) {
    uffdio_register registration = {};
    registration.range = {mapping.start, mapping.end - mapping.start};
    registration.mode = UFFDIO_REGISTER_MODE_MISSING;
    return ::ioctl(memory.get(), UFFDIO_REGISTER, &registration) == 0 &&
           (registration.ioctls & 1ULL << _UFFDIO_COPY) != 0;
}

} // namespace

Result<Runs> copy_pages(const Context &context, Husk &husk, Calls &calls, const std::vector<model::Mapping> &mappings,
                        const Runs &absent) {
    if (size_of(absent) < least_worth)
        return absent;
    const bool huge = huge_by_default();
    std::vector<std::pair<const model::Mapping *, Runs>> parts;
    uint64_t size = 0;
    for (const model::Mapping &mapping : mappings) {
        if (!can_be_copied(mapping, huge))
            continue;
        Runs part = part_of(absent, {{mapping.start, mapping.end - mapping.start, 0}}, Match::address, true);
        std::erase_if(part, [](const model::PageRun &run) { return run.length < least_run; });
        size += size_of(part);
        if (!part.empty())
            parts.emplace_back(&mapping, std::move(part));
    }
    if (size < least_worth)
        return absent;
    const Fd memory = TRY(memory_of(husk, calls));
    if (!memory)
        return absent;
    Runs pieces;
    for (const auto &[mapping, part] : parts) {
        if (!prepare(memory, *mapping))
            continue;
        for (const model::PageRun &run : part)
            for (uint64_t done = 0; done < run.length; done += largest_piece)
                pieces.push_back({run.address + done, std::min(largest_piece, run.length - done), run.offset + done});
    }
    TRY_IN(os::in_parallel(pieces.size(), 4096,
                           [&](size_t i, std::span<std::byte>) { return copy(memory, context.pages, pieces[i]); }),
           "filling memory");
    return part_of(absent, pieces, Match::address, false);
}

} // namespace abey::rebuild
