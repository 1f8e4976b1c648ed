// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Memory with an inode on the kernel's own tmpfs: memfd_create(2), shared anonymous mappings, System V segments.
#include "engine/capture/shared_memory.h"

#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"

#include <bit>
#include <linux/magic.h>

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/vfs.h>

namespace abey::capture {
namespace {

constexpr std::string_view memfd_prefix = "/memfd:";
constexpr std::string_view deleted_suffix = " (deleted)";
constexpr std::string_view anonymous_link = "/dev/zero (deleted)";
constexpr std::string_view system_v_prefix = "/SYSV";
constexpr std::string_view anonymous_huge = "/anon_hugepage (deleted)";

bool has_special_name(const Seen &seen) {
    return seen.link.ends_with(deleted_suffix) &&
           (seen.link.starts_with(memfd_prefix) || seen.link == anonymous_link || seen.link == anonymous_huge ||
            seen.link.starts_with(system_v_prefix));
}

// A deleted file on an ordinary tmpfs may have such a name as well; the kernel's own instance has a device of its own.
bool matches(const Seen &seen) {
    if (!S_ISREG(seen.stat.st_mode) || (seen.flags & O_PATH) != 0 || !has_special_name(seen))
        return false;
    struct statfs fs = {};
    if (::fstatfs(seen.file->get(), &fs) < 0)
        return false;
    if (fs.f_type == HUGETLBFS_MAGIC)
        return true;
    const Fd reference(::memfd_create("abeyance", MFD_CLOEXEC));
    const auto st = stat_of(reference);
    return st && st->st_dev == seen.stat.st_dev;
}

// The inode's number is the identifier (ipc/shm.c).
Result<> ask_for_segment(Context &context, const Seen &seen, model::SharedMemory &memory) {
    shmid_ds segment = {};
    const int identifier = static_cast<int>(seen.stat.st_ino);
    if (::shmctl(identifier, IPC_STAT, &segment) < 0 || segment.shm_segsz > memory.size ||
        memory.size - segment.shm_segsz >= 4096) {
        context.findings.push_back({.pid = seen.pid,
                                    .comm = seen.comm,
                                    .object = fmt::format("System V shared memory {}", seen.stat.st_ino),
                                    .reason =
                                        "its contents stay shared by those that have it attached, but it loses its "
                                        "identifier: it cannot be attached again",
                                    .advice = {},
                                    .fatal = false});
        return {};
    }
    memory.kind = model::SharedMemory::Kind::system_v;
    memory.size = segment.shm_segsz;
    memory.key = segment.shm_perm.__key;
    memory.identifier = identifier;
    memory.mode = segment.shm_perm.mode & 0777U;
    memory.removed = (segment.shm_perm.mode & SHM_DEST) != 0;
    memory.uid = segment.shm_perm.uid;
    memory.gid = segment.shm_perm.gid;
    memory.creator_uid = segment.shm_perm.cuid;
    memory.creator_gid = segment.shm_perm.cgid;
    return {};
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    struct statfs fs = {};
    const bool huge = ::fstatfs(seen.file->get(), &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
    if (huge && seen.link.starts_with(system_v_prefix))
        return fail(0,
                    "a System V segment of huge pages (hugetlb) cannot be brought back yet; run the program without");
    auto &memories = context.state<SharedMemories>();
    const std::pair<uint64_t, uint64_t> key = {seen.stat.st_dev, seen.stat.st_ino};
    if (const auto known = memories.by_inode.find(key); known != memories.by_inode.end())
        return model::SharedMemoryFile{.memory = known->second};

    model::SharedMemory memory;
    memory.size = static_cast<uint64_t>(seen.stat.st_size);
    memory.huge_pages = huge;
    memory.huge_page_shift = huge ? static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(fs.f_bsize))) : 0;
    memory.mode = seen.stat.st_mode & 07777U;
    memory.uid = seen.stat.st_uid;
    memory.gid = seen.stat.st_gid;
    if (seen.link.starts_with(memfd_prefix)) {
        memory.kind = model::SharedMemory::Kind::memfd;
        memory.name =
            seen.link.substr(memfd_prefix.size(), seen.link.size() - memfd_prefix.size() - deleted_suffix.size());
        const int seals = ::fcntl(seen.file->get(), F_GET_SEALS);
        if (seals < 0)
            return fail(errno, "cannot ask for its seals");
        memory.seals = static_cast<uint32_t>(seals);
    } else if (seen.link.starts_with(system_v_prefix)) {
        TRY(ask_for_segment(context, seen, memory));
    }
    memory.id = context.tree.next_id();
    const model::ObjRef id = memory.id;
    // a descriptor of our own, since the task's may be write-only
    memories.readable.emplace(id, TRY(abey::open_file(fmt::format("/proc/self/fd/{}", seen.file->get()), O_RDONLY)));
    memories.by_inode.emplace(key, id);
    context.tree.shared_memory.emplace(id, std::move(memory));
    return model::SharedMemoryFile{.memory = id};
}

} // namespace

Kind shared_memory_kind() {
    return {.name = "shared memory", .matches = matches, .capture = capture, .complete = nullptr};
}

} // namespace abey::capture
