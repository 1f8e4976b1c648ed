// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/descriptors.h"

#include "engine/capture/mounts.h"
#include "engine/capture/open_files.h"
#include "engine/capture/shared_memory.h"
#include "engine/capture/unix_socket.h"
#include "engine/os/long_path.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <set>

#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

namespace abey::capture {
namespace {

// Context::state: the descriptor tables, found again by kcmp(2) of one process that has each.
struct Tables {
    struct Order {
        bool operator()(int a, int b) const { return ::syscall(SYS_kcmp, a, b, KCMP_FILES, 0, 0) == 1; }
    };
    std::map<int, model::ObjRef, Order> by_pid;
    bool limit_raised = false;
};

constexpr size_t info_limit = 64U << 20U; // a line for each watch of an inotify file

// /proc/PID/fd and fdinfo, held open: a look-up by path costs as much as all the rest of looking at a descriptor.
class ProcDescriptors {
  public:
    static Result<ProcDescriptors> open(int pid) {
        ProcDescriptors result;
        result.links_ = TRY(abey::open_file(fmt::format("/proc/{}/fd", pid), O_RDONLY | O_DIRECTORY));
        result.infos_ = TRY(abey::open_file(fmt::format("/proc/{}/fdinfo", pid), O_RDONLY | O_DIRECTORY));
        return result;
    }

    // Ascending.
    [[nodiscard]] Result<std::vector<int>> numbers() const {
        // closedir(3) closes the descriptor that it was given
        const std::unique_ptr<DIR, int (*)(DIR *)> directory(::fdopendir(TRY(duplicate(links_)).release()), ::closedir);
        if (!directory)
            return fail(errno, "cannot list the descriptors");
        std::vector<int> numbers;
        for (;;) {
            errno = 0;
            const dirent *entry = ::readdir(directory.get());
            if (entry == nullptr && errno != 0)
                return fail(errno, "cannot list the descriptors");
            if (entry == nullptr)
                break;
            const std::string_view name = entry->d_name;
            int number = 0;
            if (std::from_chars(name.data(), name.data() + name.size(), number).ec == std::errc())
                numbers.push_back(number);
        }
        std::ranges::sort(numbers);
        return numbers;
    }
    [[nodiscard]] Result<std::string> link(int number) const {
        std::array<char, PATH_MAX> target; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by readlinkat
        const ssize_t size = ::readlinkat(links_.get(), std::to_string(number).c_str(), target.data(), target.size());
        if (size < 0)
            return fail(errno, "cannot see what it is");
        return std::string(target.data(), static_cast<size_t>(size));
    }
    // A read that is not filled has seen all: the kernel makes the text in one piece.
    [[nodiscard]] Result<std::string> info(int number) const {
        const Fd file = TRY(open_at(infos_.get(), std::to_string(number), O_RDONLY));
        std::array<char, 2048> text; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read
        const ssize_t size = ::read(file.get(), text.data(), text.size());
        if (size < 0)
            return fail(errno, "cannot see its state");
        std::string info(text.data(), static_cast<size_t>(size));
        if (info.size() == text.size())
            info += TRY(read_all(file, info_limit));
        return info;
    }

  private:
    Fd links_, infos_;
};

// Of a path that the kernel does not tell.
Result<std::string> long_path(const Fd &file) {
    auto path = os::shown_path(file);
    if (path || path.error().code() != ENAMETOOLONG)
        return path;
    return fail(0, "{}, so it could not be found again; close it, or give a directory above it a shorter name",
                path.error().message());
}

struct Met {
    Fd file;
    Seen seen;
};

// Looks at descriptor `number`; the error's code is EBADF or ENOENT when it has been closed meanwhile.
Result<> look(Met &met, int pid, const std::string &comm, int pidfd, int number, const ProcDescriptors &proc) {
    met.file = Fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0)));
    if (!met.file)
        return fail(errno, "cannot get hold of it");
    met.seen.pid = pid;
    met.seen.comm = comm;
    met.seen.number = number;
    met.seen.file = &met.file;
    met.seen.stat = TRY(stat_of(met.file));
    auto link = proc.link(number);
    if (!link && link.error().code() == ENAMETOOLONG)
        link = long_path(met.file);
    met.seen.link = TRY(std::move(link));
    met.seen.info = TRY(proc.info(number));
    // fdinfo tells the descriptor's close-on-exec flag, too
    met.seen.flags = static_cast<uint32_t>(met.seen.info_number("flags", 8).value_or(0));
    return {};
}

// What a link of /proc/PID leads to, opened by us once for all links that lead there. One call is enough to see that
// this is such a one: processes of one program map the same files dozens of times.
Result<model::ObjRef> opened_by_us(Context &context, const std::string &path, int flags, Seen where) {
    auto &opened = context.state<Inodes>().opened;
    const auto what = [&where] {
        return where.place.empty() ? fmt::format("mapping {:x}-{:x}", where.mapping_start, where.mapping_end)
                                   : where.place;
    };
    struct statx stat = {};
    if (::statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE | STATX_INO | STATX_NLINK | STATX_MNT_ID, &stat) < 0)
        return fail(errno, "process {} ({}), {}: cannot look at its file", where.pid, where.comm, what());
    auto apart =
        TRY_IN(apart_from_others(context, where.pid, path), "process {} ({}), {}", where.pid, where.comm, what());
    if (S_ISREG(stat.stx_mode) && stat.stx_nlink != 1) // it may be mapped by several names
        apart += read_link(path).value_or("");
    const auto key = std::tuple(
        makedev(stat.stx_dev_major, stat.stx_dev_minor), uint64_t{stat.stx_ino}, static_cast<uint32_t>(flags),
        place_of(context, stat.stx_mnt_id) ? uint64_t{stat.stx_mnt_id} : uint64_t{0}, std::move(apart));
    if (const auto known = opened.find(key); known != opened.end())
        return known->second;
    auto told = read_link(path);
    if (!told && told.error().code() == ENAMETOOLONG)
        told = long_path(TRY_IN(abey::open_file(path, O_PATH), "process {} ({}), {}", where.pid, where.comm, what()));
    const std::string link = TRY_IN(std::move(told), "process {} ({}), {}", where.pid, where.comm, what());
    const auto file =
        TRY_IN(abey::open_file(path, flags), "process {} ({}), {} ({})", where.pid, where.comm, what(), link);
    Seen seen =
        TRY_IN(look_at(where.pid, where.comm, file), "process {} ({}), {} ({})", where.pid, where.comm, what(), link);
    seen.link = link;
    seen.flags &= ~static_cast<uint32_t>(O_NONBLOCK);
    seen.place = where.place;
    seen.mapping_start = where.mapping_start;
    seen.mapping_end = where.mapping_end;
    seen.writable_mapping = where.writable_mapping;
    auto id = intern(context, seen);
    if (!id && context.preflight) {
        context.findings.push_back(to_finding(seen.pid, seen.comm, fmt::format("{} ({})", what(), link), id.error()));
        id = 0;
    }
    if (!id)
        return within(std::move(id).error(), "{}", seen.described());
    opened.emplace(key, *id);
    return *id;
}

} // namespace

Finding to_finding(int pid, std::string comm, std::string object, const Error &error) {
    const std::string message = error.message();
    const auto cut = message.find("; ");
    Finding finding = {
        .pid = pid, .comm = std::move(comm), .object = std::move(object), .reason = message.substr(0, cut)};
    if (cut != std::string::npos)
        finding.advice = message.substr(cut + 2);
    return finding;
}

Result<model::ObjRef> capture_descriptors(Context &context, int pid, const std::string &comm, int pidfd) {
    auto &tables = context.state<Tables>();
    if (!tables.limit_raised) {
        TRY(raise_descriptor_limit()); // the worker holds some open files of the session all the time
        tables.limit_raised = true;
    }
    const auto known = tables.by_pid.lower_bound(pid);
    if (known != tables.by_pid.end()) {
        const long same = ::syscall(SYS_kcmp, pid, known->first, KCMP_FILES, 0, 0);
        if (same == 0)
            return known->second;
        if (same < 0 && !context.preflight)
            return fail(errno, "process {} ({}): cannot compare its descriptor table by kcmp(2)", pid, comm);
    }
    model::DescriptorTable table;
    const auto proc = TRY_IN(ProcDescriptors::open(pid), "process {} ({})", pid, comm);
    for (const int number : TRY_IN(proc.numbers(), "process {} ({})", pid, comm)) {
        Met met;
        if (auto looked = look(met, pid, comm, pidfd, number, proc); !looked) {
            const int code = looked.error().code();
            if (context.preflight && (code == EBADF || code == ENOENT))
                continue;
            return within(std::move(looked).error(), "process {} ({}), descriptor {}", pid, comm, number);
        }
        auto id = intern(context, met.seen);
        if (!id && context.preflight) {
            context.findings.push_back(to_finding(
                met.seen.pid, met.seen.comm, fmt::format("descriptor {} ({})", number, met.seen.link), id.error()));
            continue;
        }
        if (!id)
            return within(std::move(id).error(), "{}", met.seen.described());
        if (*id != 0)
            table.descriptors.push_back(
                {.number = number, .close_on_exec = (met.seen.flags & O_CLOEXEC) != 0, .open_file = *id});
    }
    table.id = context.tree.next_id();
    const model::ObjRef id = table.id;
    context.tree.descriptor_tables.emplace(id, std::move(table));
    tables.by_pid.emplace_hint(known, pid, id);
    return id;
}

Result<model::ObjRef> capture_mapped_file(Context &context, int pid, const std::string &comm,
                                          const os::ProcMapping &mapping, bool writable) {
    // A file system on a block device has one device number, and the mapping's line tells it: what was met with the
    // same inode number and path is this file. Others (major 0) have more than the line tells, such as subvolumes, and
    // one path leads to several mounts where processes have mount namespaces of their own.
    const bool told = mapping.major != 0 && context.state<Namespaces>().by_pid.empty();
    auto &known = context.state<Inodes>().mapped;
    auto key = std::tuple(makedev(mapping.major, mapping.minor), mapping.inode, writable, mapping.name);
    if (const auto same = known.find(key); told && same != known.end())
        return same->second;
    Seen where;
    where.pid = pid;
    where.comm = comm;
    where.mapping_start = mapping.start;
    where.mapping_end = mapping.end;
    where.writable_mapping = writable;
    const auto id =
        TRY(opened_by_us(context, fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.start, mapping.end),
                         (writable ? O_RDWR : O_RDONLY) | O_NOCTTY | O_NONBLOCK, std::move(where)));
    if (told && id != 0)
        known.emplace(std::move(key), id);
    return id;
}

Result<model::ObjRef> capture_link(Context &context, int pid, const std::string &comm, const std::string &name,
                                   int flags) {
    Seen where;
    where.pid = pid;
    where.comm = comm;
    where.place = name;
    return opened_by_us(context, fmt::format("/proc/{}/{}", pid, name), flags, std::move(where));
}

Result<> complete(Context &context) {
    // files in flight may be sockets with files in flight
    if (!context.preflight)
        while (TRY(add_files_in_flight(context)))
            ;
    for (const Kind &kind : kinds())
        if (kind.complete != nullptr)
            TRY(kind.complete(context));
    return {};
}

namespace {

// Opening such a file again waits until its holder, who stands still, has given the lease up, and takes it from him.
Result<> refuse_leased(const Context &context, model::ObjRef inode) {
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *disk = std::get_if<model::DiskFile>(&file.payload);
        const bool readable_only = (file.flags & O_ACCMODE) == O_RDONLY;
        const auto is_write_lease = [readable_only](const model::FileLock &lock) {
            return lock.kind == model::FileLock::Kind::lease && (lock.write || (lock.breaking && !readable_only));
        };
        if (disk != nullptr && disk->inode == inode && std::ranges::any_of(file.locks, is_write_lease))
            return fail(0, "its contents cannot be saved while a program has a write lease on it");
    }
    return {};
}

} // namespace

Result<> rescue_files(Context &context) {
    for (auto &keep : context.state<Inodes>().keep) {
        auto &inode = context.tree.inodes.at(keep.id);
        // an open file of our own: the task's shares its position, and may not be readable
        if (S_ISREG(inode.mode) || S_ISDIR(inode.mode)) {
            TRY_IN(refuse_leased(context, keep.id), "{}", inode.path);
            const std::string path = fmt::format("/proc/self/fd/{}", keep.file.get());
            auto readable = abey::open_file(path, O_RDONLY | O_NOATIME);
            keep.file = readable ? std::move(*readable) : TRY_IN(abey::open_file(path, O_RDONLY), "{}", inode.path);
        }
        TRY(context.files.keep(inode, keep.file, keep.use));
        keep.file.reset();
    }
    return {};
}

} // namespace abey::capture
