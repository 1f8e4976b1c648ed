// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/open_files.h"

#include "engine/capture/kinds.h"
#include "engine/capture/mounts.h"
#include "engine/os/kernel.h"
#include "engine/os/long_path.h"
#include "engine/os/mount_tree.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include <linux/kcmp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace abey::capture {
namespace {

pid_t self() {
    static const pid_t pid = ::getpid();
    return pid;
}

// kcmp(2) of two processes' descriptors: 0 the same open file, 1 the first comes before, 2 after.
long compare(pid_t first, int a, pid_t second, int b) { return ::syscall(SYS_kcmp, first, second, KCMP_FILE, a, b); }

long compare(pid_t first, int a, const EpollSlot &b) {
    kcmp_epoll_slot slot = {static_cast<uint32_t>(b.epoll), b.number, b.occurrence};
    return ::syscall(SYS_kcmp, first, self(), KCMP_EPOLL_TFD, a, &slot);
}

Result<model::SignalOwner> signal_owner(const Seen &seen) {
    model::SignalOwner owner;
    f_owner_ex ex = {};
    // kcmp's order and these calls work on any open file but O_PATH ones
    if (::fcntl(seen.file->get(), F_GETOWN_EX, &ex) < 0)
        return fail(errno, "cannot ask for the owner of its signals");
    owner.signal = ::fcntl(seen.file->get(), F_GETSIG);
    if (ex.pid == 0)
        return owner;
    owner.type = ex.type;
    owner.pid = ex.pid;
    uid_t uids[2] = {};
    if (::fcntl(seen.file->get(), kernel::f_getowner_uids, uids) < 0)
        return fail(errno, "cannot ask for the user behind its signals");
    owner.uid = uids[0];
    owner.euid = uids[1];
    return owner;
}

// POSIX locks belong to a descriptor table, so every table that holds the open file may add some.
Result<> add_locks(model::OpenFile &file, const Seen &seen, bool only_posix) {
    if (seen.info.find("\nlock:") == std::string::npos)
        return {};
    for (model::FileLock &lock : TRY(parse_locks(seen.info))) {
        const bool posix = lock.kind == model::FileLock::Kind::posix;
        if (only_posix && !posix)
            continue;
        if (posix)
            lock.pid = seen.pid;
        const auto same = [&](const model::FileLock &other) { // by another descriptor of that table
            return posix && other.kind == lock.kind && other.pid == lock.pid && other.start == lock.start;
        };
        if (std::ranges::none_of(file.locks, same))
            file.locks.push_back(lock);
    }
    return {};
}

// `held`: its kind looks at it again.
Result<model::OpenFile> capture_file(Context &context, const Seen &seen, bool &held) {
    const auto all = kinds();
    const auto kind = std::ranges::find_if(all, [&](const Kind &k) { return k.matches(seen); });
    if (kind == all.end())
        return std::unexpected(refusal(seen));
    held = kind->held;
    model::OpenFile file;
    file.flags = seen.flags & ~static_cast<uint32_t>(O_CLOEXEC);
    file.position = seen.info_number("pos", 10).value_or(0);
    if ((seen.flags & O_PATH) == 0)
        file.owner = TRY(signal_owner(seen));
    TRY(add_locks(file, seen, false));
    file.payload = TRY(kind->capture(context, seen));
    return file;
}

} // namespace

template <class Before> OpenFiles::Place OpenFiles::place_of(Before before) const {
    Place place;
    place.added_ = added_;
    const auto chunk =
        std::ranges::partition_point(chunks_, [&](const std::vector<Known> &some) { return before(some.back()); });
    place.chunk_ = static_cast<size_t>(chunk - chunks_.begin());
    if (chunk != chunks_.end())
        place.index_ = static_cast<size_t>(std::ranges::partition_point(*chunk, before) - chunk->begin());
    return place;
}

OpenFiles::Place OpenFiles::look_for(const Fd &file, uint64_t inode) const {
    Place place = place_of([&](const Known &known) {
        return known.inode != inode ? known.inode < inode : compare(known.pid, known.number, self(), file.get()) == 1;
    });
    if (place.chunk_ == chunks_.size())
        return place;
    // In preflight a task may have closed what is known by its descriptor: that is like nothing any more.
    const Known &known = chunks_[place.chunk_][place.index_];
    if (known.inode == inode && compare(known.pid, known.number, self(), file.get()) == 0)
        place.found_ = known.id;
    return place;
}

std::optional<model::ObjRef> OpenFiles::find(const EpollSlot &slot, uint64_t inode) const {
    const Place place = place_of([&](const Known &known) {
        return known.inode != inode ? known.inode < inode : compare(known.pid, known.number, slot) == 1;
    });
    if (place.chunk_ == chunks_.size())
        return std::nullopt;
    const Known &known = chunks_[place.chunk_][place.index_];
    const bool same = known.inode == inode && compare(known.pid, known.number, slot) == 0;
    return same ? std::optional(known.id) : std::nullopt;
}

void OpenFiles::insert(const Place &place, const Known &known) {
    constexpr ptrdiff_t most = 512;
    ++added_;
    if (chunks_.empty())
        chunks_.emplace_back();
    const bool last = place.chunk_ == chunks_.size() || chunks_.front().empty();
    auto chunk = last ? chunks_.end() - 1 : chunks_.begin() + static_cast<ptrdiff_t>(place.chunk_);
    chunk->insert(last ? chunk->end() : chunk->begin() + static_cast<ptrdiff_t>(place.index_), known);
    if (std::ssize(*chunk) < most)
        return;
    const auto half = chunk->begin() + most / 2;
    std::vector<Known> rest(half, chunk->end());
    chunk->erase(half, chunk->end());
    chunks_.insert(chunk + 1, std::move(rest));
}

// A comparison with a descriptor of a task takes twice as long as one of two of ours.
bool OpenFiles::has_room() {
    constexpr size_t most = 1U << 16U;
    if (!room_) {
        rlimit limit = {};
        room_ = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? std::min<size_t>(limit.rlim_cur / 2, most) : 0;
    }
    return others_.size() < *room_;
}

Result<Fd> OpenFiles::file(model::ObjRef id) const {
    if (const auto ours = held_.find(id); ours != held_.end())
        return duplicate(ours->second->file);
    const auto [pid, number] = of_tasks_.at(id);
    // of a process whose first thread has ended it is another thread's; before Linux 6.9 there are none of those here
    Fd task(static_cast<int>(::syscall(SYS_pidfd_open, pid, kernel::pidfd_thread)));
    if (!task && errno == EINVAL)
        task = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    Fd file(task ? static_cast<int>(::syscall(SYS_pidfd_getfd, task.get(), number, 0)) : -1);
    if (!file)
        return fail(errno, "process {}, descriptor {}: cannot get hold of it again", pid, number);
    return file;
}

Result<std::unique_ptr<OpenFiles::Entry>> OpenFiles::get(model::ObjRef id) const {
    Fd own = TRY(file(id));
    if (const auto ours = held_.find(id); ours != held_.end())
        return std::make_unique<Entry>(std::move(own), ours->second->seen);
    const auto [pid, number] = of_tasks_.at(id);
    std::string comm = os::read_proc(pid, "comm").value_or("?");
    comm.resize(std::min(comm.find('\n'), comm.size()));
    Seen seen = TRY(look_at(pid, comm, own));
    seen.number = number;
    return std::make_unique<Entry>(std::move(own), std::move(seen));
}

Result<> OpenFiles::add(model::ObjRef id, const Seen &seen, Place place, bool hold) {
    if (place.added_ != added_)
        place = look_for(*seen.file, seen.stat.st_ino);
    if (place.found_)
        return fail(EEXIST, "this open file has been seen before");
    if (seen.pid != checked_pid_ && seen.number >= 0) {
        // not so of a process whose first thread has no descriptors any more
        checked_ = compare(seen.pid, seen.number, self(), seen.file->get()) == 0;
        checked_pid_ = seen.pid;
    }
    const bool of_task = seen.number >= 0 && checked_;
    if (!comparable_ && compare(self(), seen.file->get(), self(), seen.file->get()) != 0)
        return fail(errno, "cannot compare open files by kcmp(2); the kernel needs CONFIG_KCMP");
    comparable_ = true;
    Known known = {.inode = seen.stat.st_ino, .id = id, .pid = seen.pid, .number = seen.number};
    Fd ours;
    if (hold || !of_task || has_room()) {
        ours = TRY(duplicate(*seen.file));
        known.pid = self();
        known.number = ours.get();
    }
    insert(place, known);
    if (id != 0 && (hold || !of_task)) {
        held_.emplace(id, std::make_unique<Entry>(std::move(ours), seen));
        return {};
    }
    if (id != 0)
        of_tasks_.emplace(id, std::pair(seen.pid, seen.number));
    if (ours)
        others_.push_back(std::move(ours));
    return {};
}

std::string Seen::described() const {
    if (!place.empty())
        return fmt::format("process {} ({}), {} ({})", pid, comm, place, link);
    if (mapping_end != 0)
        return fmt::format("process {} ({}), mapping {:x}-{:x} ({})", pid, comm, mapping_start, mapping_end, link);
    if (number < 0)
        return fmt::format("process {} ({}), a descriptor on its way to it ({})", pid, comm, link);
    return fmt::format("process {} ({}), descriptor {} ({})", pid, comm, number, link);
}

std::expected<uint64_t, std::monostate> Seen::info_number(std::string_view name, int base) const {
    const auto field = info_field(info, name);
    uint64_t value = 0;
    if (!field || std::from_chars(field->data(), field->data() + field->size(), value, base).ec != std::errc())
        return std::unexpected(std::monostate());
    return value;
}

Result<model::ObjRef> intern(Context &context, const Seen &seen) {
    auto &files = context.state<OpenFiles>();
    const auto place = files.look_for(*seen.file, seen.stat.st_ino);
    if (const auto known = place.found()) {
        if (*known != 0)
            TRY(add_locks(context.tree.open_files.at(*known), seen, true));
        return *known;
    }
    bool held = false;
    auto file = capture_file(context, seen, held);
    if (!file) {
        if (context.preflight) // told once, however many descriptors there are
            TRY(files.add(0, seen, place, false));
        return std::unexpected(std::move(file).error());
    }
    file->id = context.tree.next_id();
    TRY(files.add(file->id, seen, place, held));
    const model::ObjRef id = file->id;
    context.tree.open_files.emplace(id, std::move(*file));
    return id;
}

Result<model::ObjRef> Context::open_file(const Seen &seen) {
    const auto id = TRY_IN(intern(*this, seen), "{}", seen.described());
    if (id == 0)
        return fail(0, "{}: cannot be brought back, as told before", seen.described());
    return id;
}

namespace {

// The mount on which it was found, when that is one of a namespace of the tree's own.
Result<std::optional<MountNamespaces::Place>> own_place(Context &context, const Seen &seen) {
    const auto &all = context.state<MountNamespaces>();
    if (all.own.empty())
        return std::nullopt;
    const uint64_t id = TRY(os::mount_id(*seen.file));
    auto place = place_of(context, id);
    if (place)
        return place;
    const bool of_session = std::ranges::any_of(
        all.session, [id](const os::MountLine &line) { return static_cast<uint64_t>(line.id) == id; });
    if (!of_session && all.by_pid.contains(seen.pid))
        return fail(0, "it lies on a mount that is not in its mount namespace any more, or in none of the session's, "
                       "which cannot be brought back; close it, or end the program");
    return std::nullopt;
}

// Found by its name in that namespace: also on that mount?
Result<> check_mount(const model::Inode &inode, const Fd &root, const Fd &file) {
    if (inode.naming != model::Naming::named)
        return {};
    const auto found = TRY(os::look_in(root, inode.path));
    if (TRY(os::mount_id(found)) != TRY(os::mount_id(file)))
        return fail(0, "it is covered by another mount, so it could not be found again; close it, or end the program");
    return {};
}

} // namespace

Result<model::ObjRef> Context::inode(const Seen &seen) {
    auto &inodes = state<Inodes>();
    const auto place = TRY(own_place(*this, seen));
    const std::tuple<uint64_t, uint64_t, uint64_t> key = {seen.stat.st_dev, seen.stat.st_ino,
                                                          place ? TRY(os::mount_id(*seen.file)) : 0};
    if (const auto known = inodes.known.find(key); known != inodes.known.end())
        return known->second;
    // what is kept is one file again, through whichever mount it was opened
    const std::pair<uint64_t, uint64_t> any_mount = {seen.stat.st_dev, seen.stat.st_ino};
    if (const auto kept = inodes.kept.find(any_mount); kept != inodes.kept.end() && S_ISREG(seen.stat.st_mode))
        return kept->second;
    const Fd *root = nullptr;
    if (place) {
        root = &state<MountNamespaces>().own.at(place->mount_namespace).root;
    } else if (inodes.root_pid != seen.pid) {
        inodes.root = TRY(abey::open_file(fmt::format("/proc/{}/root", seen.pid), O_PATH | O_DIRECTORY));
        inodes.root_pid = seen.pid;
    }
    auto inode = TRY(files.identify(*seen.file, seen.link, place ? *root : inodes.root, place.has_value()));
    engine::FileUse use = {.pid = seen.pid,
                           .comm = seen.comm,
                           .descriptor = seen.number,
                           .mapping_start = seen.mapping_start,
                           .mapping_end = seen.mapping_end,
                           .mapped = seen.mapping_end != 0,
                           .writable =
                               seen.mapping_end != 0 ? seen.writable_mapping : (seen.flags & O_ACCMODE) != O_RDONLY};
    if (place) {
        TRY(check_mount(inode, *root, *seen.file));
        inode.mount_namespace = place->mount_namespace;
        inode.mount = place->mount;
        const auto &mount = tree.namespaces.at(place->mount_namespace).mounts.at(place->mount);
        inode.remade = mount.file_system != 0 && inode.naming == model::Naming::named;
    }
    const auto strategy = inode.remade ? model::Strategy::none : TRY(files.plan(inode, *seen.file, use));
    inode.id = tree.next_id();
    const model::ObjRef id = inode.id;
    const bool by_name = strategy == model::Strategy::none || strategy == model::Strategy::pin;
    if (!preflight && by_name && !inode.remade)
        files.fingerprint(inode, *seen.file, use);
    if (strategy != model::Strategy::none && !preflight)
        inodes.keep.push_back({id, TRY(duplicate(*seen.file)), std::move(use)});
    if (!by_name)
        inodes.kept.emplace(any_mount, id);
    tree.inodes.emplace(id, std::move(inode));
    inodes.known.emplace(key, id);
    return id;
}

Result<Seen> look_at(int pid, const std::string &comm, const Fd &file) {
    Seen seen;
    seen.pid = pid;
    seen.comm = comm;
    seen.file = &file;
    seen.stat = TRY(stat_of(file));
    seen.link = TRY(os::shown_path(file));
    seen.info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", file.get())));
    seen.flags = static_cast<uint32_t>(::fcntl(file.get(), F_GETFL));
    return seen;
}

} // namespace abey::capture
