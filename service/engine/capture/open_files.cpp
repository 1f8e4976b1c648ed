// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/open_files.h"

#include "engine/capture/kinds.h"
#include "engine/os/kernel.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <charconv>

#include <linux/kcmp.h>
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

bool OpenFiles::Order::operator()(const Known &a, const Known &b) const {
    return a.inode != b.inode ? a.inode < b.inode : compare(a.pid, a.number, b.pid, b.number) == 1;
}
bool OpenFiles::Order::operator()(const Known &a, const Ours &b) const {
    return a.inode != b.inode ? a.inode < b.inode : compare(a.pid, a.number, self(), b.number) == 1;
}
bool OpenFiles::Order::operator()(const Known &a, const Slot &b) const {
    return a.inode != b.inode ? a.inode < b.inode : compare(a.pid, a.number, *b.slot) == 1;
}
bool OpenFiles::Order::operator()(const Slot &a, const Known &b) const {
    return a.inode != b.inode ? a.inode < b.inode : compare(b.pid, b.number, *a.slot) == 2;
}

OpenFiles::Place OpenFiles::look_for(const Fd &file, uint64_t inode) {
    Place place;
    place.at_ = known_.lower_bound(Ours{inode, file.get()});
    // In preflight a task may have closed what is known by its descriptor: that is like nothing any more.
    place.found_ = place.at_ != known_.end() && place.at_->inode == inode &&
                   compare(place.at_->pid, place.at_->number, self(), file.get()) == 0;
    return place;
}

std::optional<model::ObjRef> OpenFiles::find(const EpollSlot &slot, uint64_t inode) const {
    const auto known = known_.find(Slot{inode, &slot});
    return known == known_.end() ? std::nullopt : std::optional(known->id);
}

Result<std::unique_ptr<OpenFiles::Entry>> OpenFiles::get(model::ObjRef id) const {
    if (const auto ours = held_.find(id); ours != held_.end())
        return std::make_unique<Entry>(TRY(duplicate(ours->second->file)), ours->second->seen);
    const auto [pid, number] = of_tasks_.at(id);
    const Fd task(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    Fd file(task ? static_cast<int>(::syscall(SYS_pidfd_getfd, task.get(), number, 0)) : -1);
    if (!file)
        return fail(errno, "process {}, descriptor {}: cannot get hold of it again", pid, number);
    std::string comm = os::read_proc(pid, "comm").value_or("?");
    comm.resize(std::min(comm.find('\n'), comm.size()));
    Seen seen = TRY(look_at(pid, comm, file));
    seen.number = number;
    return std::make_unique<Entry>(std::move(file), std::move(seen));
}

Result<> OpenFiles::add(model::ObjRef id, const Seen &seen, const Place &place, bool hold) {
    Known known = {.inode = seen.stat.st_ino, .id = id, .pid = seen.pid, .number = seen.number};
    // Not so of a task that shares no descriptors with its process's first thread, or has closed it (preflight).
    const bool of_task = seen.number >= 0 && compare(seen.pid, seen.number, self(), seen.file->get()) == 0;
    if (!comparable_ && !of_task && compare(self(), seen.file->get(), self(), seen.file->get()) != 0)
        return fail(errno, "cannot compare open files by kcmp(2); the kernel needs CONFIG_KCMP");
    comparable_ = true;
    Fd ours;
    if (hold || !of_task) {
        ours = TRY(duplicate(*seen.file));
        known.pid = self();
        known.number = ours.get();
    }
    const size_t before = known_.size();
    known_.emplace_hint(place.at_, known);
    if (known_.size() == before)
        return fail(EEXIST, "this open file has been seen before");
    if (id == 0)
        others_.push_back(std::move(ours));
    else if (ours)
        held_.emplace(id, std::make_unique<Entry>(std::move(ours), seen));
    else
        of_tasks_.emplace(id, std::pair(seen.pid, seen.number));
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

Result<model::ObjRef> Context::inode(const Seen &seen) {
    auto &inodes = state<Inodes>();
    const std::pair<uint64_t, uint64_t> key = {seen.stat.st_dev, seen.stat.st_ino};
    if (const auto known = inodes.known.find(key); known != inodes.known.end())
        return known->second;
    if (inodes.root_pid != seen.pid) {
        inodes.root = TRY(abey::open_file(fmt::format("/proc/{}/root", seen.pid), O_PATH | O_DIRECTORY));
        inodes.root_pid = seen.pid;
    }
    auto inode = TRY(files.identify(*seen.file, seen.link, inodes.root));
    engine::FileUse use = {.pid = seen.pid,
                           .comm = seen.comm,
                           .descriptor = seen.number,
                           .mapping_start = seen.mapping_start,
                           .mapping_end = seen.mapping_end,
                           .mapped = seen.mapping_end != 0,
                           .writable =
                               seen.mapping_end != 0 ? seen.writable_mapping : (seen.flags & O_ACCMODE) != O_RDONLY};
    const auto strategy = TRY(files.plan(inode, *seen.file, use));
    inode.id = tree.next_id();
    const model::ObjRef id = inode.id;
    if (!preflight && (strategy == model::Strategy::none || strategy == model::Strategy::pin))
        files.fingerprint(inode, *seen.file, use);
    if (strategy != model::Strategy::none && !preflight)
        inodes.keep.push_back({id, TRY(duplicate(*seen.file)), std::move(use)});
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
    seen.link = TRY(read_link(fmt::format("/proc/self/fd/{}", file.get())));
    seen.info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", file.get())));
    seen.flags = static_cast<uint32_t>(::fcntl(file.get(), F_GETFL));
    return seen;
}

} // namespace abey::capture
