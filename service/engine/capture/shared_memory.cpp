// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Memory with an inode on the kernel's own tmpfs: memfd_create(2), shared anonymous mappings, System V segments.
#include "engine/capture/shared_memory.h"

#include "engine/capture/kinds.h"
#include "engine/capture/namespaces.h"
#include "engine/capture/open_files.h"
#include "engine/os/namespace.h"
#include "engine/os/segment.h"

#include <array>
#include <bit>
#include <optional>

#include <linux/magic.h>

#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/vfs.h>

namespace abey::capture {
namespace shared_memory {
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

Result<std::string> handle_at(int directory, const std::string &path, int flags) {
    std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> room = {};
    auto *handle = reinterpret_cast<file_handle *>(room.data());
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount = 0;
    if (::name_to_handle_at(directory, path.c_str(), handle, &mount, flags) < 0)
        return fail(errno, "cannot ask for its handle");
    return std::string(room.data() + sizeof(file_handle), handle->handle_bytes);
}

// What no other inode of the kernel's own tmpfs has, whatever its number is (open_by_handle_at(2)).
Result<std::string> handle_of(const Fd &file) { return handle_at(file.get(), "", AT_EMPTY_PATH); }

void describe_segment(const shmid_ds &segment, int identifier, model::SharedMemory &memory) {
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
}

// The inode's number is the identifier (ipc/shm.c), in the ipc namespace where the segment is: that of the process, or
// it comes from elsewhere, and another one there may have its number.
Result<> ask_for_segment(Context &context, const Seen &seen, const std::string &handle, model::SharedMemory &memory) {
    shmid_ds segment = {};
    const int identifier = static_cast<int>(seen.stat.st_ino);
    const model::ObjRef ns = ipc_namespace_of(context, seen.pid);
    std::optional<os::Inside> inside;
    if (ns != 0)
        inside.emplace(TRY(os::Inside::of(context.state<Namespaces>().held.at(ns).file, "ipc")));
    bool found = ::shmctl(identifier, IPC_STAT, &segment) == 0 && segment.shm_segsz <= memory.size &&
                 memory.size - segment.shm_segsz < 4096;
    if (found && !context.preflight && !context.state<Namespaces>().by_pid.empty()) {
        const Fd there = TRY(os::segment_file(identifier, segment.shm_segsz, false));
        found = TRY(handle_of(there)) == handle;
    }
    if (!found) {
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
    describe_segment(segment, identifier, memory);
    memory.ipc_namespace = ns;
    return {};
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    struct statfs fs = {};
    const bool huge = ::fstatfs(seen.file->get(), &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
    if (huge && seen.link.starts_with(system_v_prefix))
        return fail(0,
                    "a System V segment of huge pages (hugetlb) cannot be brought back yet; run the program without");
    auto &memories = context.state<SharedMemories>();
    const bool system_v = seen.link.starts_with(system_v_prefix);
    const bool may_be_alike = system_v && !context.state<Namespaces>().by_pid.empty();
    const std::string handle = may_be_alike ? TRY(handle_of(*seen.file)) : std::string();
    const SharedMemories::Key key = {seen.stat.st_dev, seen.stat.st_ino, handle};
    if (const auto known = memories.by_inode.find(key); known != memories.by_inode.end()) {
        const auto &memory = context.tree.shared_memory.at(known->second);
        if (memory.kind == model::SharedMemory::Kind::system_v &&
            memory.ipc_namespace != ipc_namespace_of(context, seen.pid))
            context.findings.push_back(
                {.pid = seen.pid,
                 .comm = seen.comm,
                 .object = fmt::format("System V shared memory {}", memory.identifier),
                 .reason =
                     "it is of another ipc namespace than the process is in by now: it stays mapped, but does not "
                     "count as attached (shmdt fails)",
                 .advice = {},
                 .fatal = false});
        return model::SharedMemoryFile{.memory = known->second};
    }

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
    } else if (system_v) {
        TRY(ask_for_segment(context, seen, handle, memory));
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
} // namespace shared_memory

Result<std::string> apart_from_others(Context &context, int pid, const std::string &path) {
    if (context.state<Namespaces>().by_pid.empty())
        return {};
    const auto link = read_link(path);
    if (!link && link.error().code() != ENAMETOOLONG)
        return std::unexpected(link.error());
    if (!link || !link->starts_with(shared_memory::system_v_prefix))
        return {};
    const auto handle = shared_memory::handle_at(AT_FDCWD, path, AT_SYMLINK_FOLLOW);
    if (!handle && handle.error().code() != EOPNOTSUPP) // of huge pages, which are refused by name
        return std::unexpected(handle.error());
    return fmt::format("{} {}", ipc_namespace_of(context, pid), handle.value_or(""));
}

Result<> capture_unattached(Context &context, int identifier, model::ObjRef ns) {
    for (const auto &[id, known] : context.tree.shared_memory)
        if (known.kind == model::SharedMemory::Kind::system_v && known.identifier == identifier &&
            known.ipc_namespace == ns)
            return {};
    shmid_ds segment = {};
    if (context.preflight || ::shmctl(identifier, IPC_STAT, &segment) < 0)
        return {};
    Fd file = TRY(os::segment_file(identifier, segment.shm_segsz, false));
    struct statfs fs = {};
    if (::fstatfs(file.get(), &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
        return fail(0, "one of huge pages (hugetlb) cannot be brought back yet; remove it");
    model::SharedMemory memory;
    shared_memory::describe_segment(segment, identifier, memory);
    memory.ipc_namespace = ns;
    memory.id = context.tree.next_id();
    context.state<SharedMemories>().readable.emplace(memory.id, std::move(file));
    context.tree.shared_memory.emplace(memory.id, std::move(memory));
    return {};
}

Kind shared_memory_kind() {
    return {.name = "shared memory",
            .matches = shared_memory::matches,
            .capture = shared_memory::capture,
            .complete = nullptr};
}

} // namespace abey::capture
