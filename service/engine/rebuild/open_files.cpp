// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/open_files.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/own_namespaces.h"

#include <algorithm>
#include <set>

#include <sys/file.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace {

// What F_SETFL can change, but O_ASYNC: that waits for the owner.
constexpr uint32_t settable_flags = O_APPEND | O_DIRECT | O_NOATIME | O_NONBLOCK;

// Context::state
struct InTasks {
    std::set<model::ObjRef> owners;                          // open files whose owner has been set
    std::set<std::pair<model::ObjRef, model::ObjRef>> locks; // descriptor table, open file
    std::set<std::pair<model::ObjRef, size_t>> own_locks;    // open file, index of a lock that belongs to it
    std::map<int32_t, model::ObjRef> tables;                 // descriptor table by pid
};

struct flock to_flock(const model::FileLock &lock) {
    struct flock range = {};
    range.l_type = lock.write ? F_WRLCK : F_RDLCK;
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(lock.start);
    range.l_len = lock.end == ~0ULL ? 0 : static_cast<off_t>(lock.end - lock.start + 1);
    return range;
}

// Of a lease that is being broken only what it will be is known, and so whether it was one for writing.
int lease_type(const model::FileLock &lock, uint32_t file_flags) {
    const bool readable_only = (file_flags & O_ACCMODE) == O_RDONLY;
    return lock.write || (lock.breaking && !readable_only) ? F_WRLCK : F_RDLCK;
}

// How to open a file so that its lease becomes one for reading, or has to be given up.
int breaking_flags(const model::FileLock &lock) { return (lock.write ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_CLOEXEC; }

Result<> restore_lock(int fd, const model::FileLock &lock) {
    using Kind = model::FileLock::Kind;
    int failed = 0;
    struct flock range = to_flock(lock);
    switch (lock.kind) {
    case Kind::posix:
        return {}; // belongs to a task's table
    case Kind::flock:
        failed = ::flock(fd, (lock.write ? LOCK_EX : LOCK_SH) | LOCK_NB);
        break;
    case Kind::ofd:
        failed = ::fcntl(fd, F_OFD_SETLK, &range);
        break;
    case Kind::lease:
        failed = ::fcntl(fd, F_SETLEASE, lease_type(lock, static_cast<uint32_t>(::fcntl(fd, F_GETFL))));
        if (failed == 0 && lock.breaking && ::fcntl(fd, F_SETOWN, 0) == 0)
            Fd(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), breaking_flags(lock))).reset();
        break;
    }
    if (failed < 0)
        return fail(errno, "cannot lock the file again; another process may hold a lock on it now");
    return {};
}

bool is_seekable(const model::OpenFile &file) {
    return std::holds_alternative<model::DiskFile>(file.payload) ||
           std::holds_alternative<model::SharedMemoryFile>(file.payload);
}

// `pid`: what the task that does it calls the owner.
void append_owner(const model::OpenFile &file, int pid, int number, os::Batch &batch) {
    const std::string what = fmt::format("descriptor {}: cannot set the owner of its signals", number);
    const f_owner_ex owner = {.type = static_cast<decltype(f_owner_ex::type)>(file.owner.type), .pid = pid};
    const uint64_t address = batch.put(owner);
    // the kernel remembers who asked, and checks it when it sends the signal
    const bool other_user = file.owner.uid != 0 || file.owner.euid != 0;
    if (other_user)
        batch.must(what, SYS_setresuid, file.owner.uid, file.owner.euid, 0);
    batch.must(what, SYS_fcntl, number, F_SETOWN_EX, address);
    if (other_user)
        batch.must(what, SYS_setresuid, 0, 0, 0);
}

bool holds(const model::Tree &tree, model::ObjRef table, model::ObjRef file) {
    const auto found = tree.descriptor_tables.find(table);
    return found != tree.descriptor_tables.end() &&
           std::ranges::find(found->second.descriptors, file, &model::Descriptor::open_file) !=
               found->second.descriptors.end();
}

void append_lease(const model::OpenFile &file, const model::FileLock &lock, int number, const std::string &what,
                  os::Batch &batch) {
    batch.must(what, SYS_fcntl, number, F_SETLEASE, lease_type(lock, file.flags));
    if (!lock.breaking)
        return;
    // The signal has been sent already: now there is nobody for it.
    batch.must(what, SYS_fcntl, number, F_SETOWN, 0);
    // Cannot be opened without waiting, EWOULDBLOCK.
    batch.may(SYS_openat, AT_FDCWD, batch.put_string(fmt::format("/proc/self/fd/{}", number)), breaking_flags(lock));
}

// Locks that belong to the open file. /proc/locks tells who took them: that task does it again when it still has the
// file, else the first that has.
void append_own_locks(Context &context, const model::Task &task, const model::Descriptor &descriptor,
                      const model::OpenFile &file, os::Batch &batch) {
    using Kind = model::FileLock::Kind;
    auto &state = context.state<InTasks>();
    const auto what = fmt::format(
        "descriptor {}: cannot lock the file again; another process may hold a lock on it now", descriptor.number);
    for (size_t i = 0; i < file.locks.size(); ++i) {
        const auto &lock = file.locks[i];
        const auto taker = state.tables.find(lock.pid);
        const bool others = taker != state.tables.end() && taker->second != task.descriptors &&
                            holds(context.tree, taker->second, file.id);
        if (lock.kind == Kind::posix || others || !state.own_locks.insert({file.id, i}).second)
            continue;
        if (lock.kind == Kind::flock)
            batch.must(what, SYS_flock, descriptor.number, (lock.write ? LOCK_EX : LOCK_SH) | LOCK_NB);
        else if (lock.kind == Kind::ofd)
            batch.must(what, SYS_fcntl, descriptor.number, F_OFD_SETLK, batch.put(to_flock(lock)));
        else
            append_lease(file, lock, descriptor.number, what, batch);
    }
}

} // namespace

const Kind *kind_of(const model::OpenFile &file) {
    const auto all = kinds();
    const auto kind = std::ranges::find(all, file.payload.index(), &Kind::payload);
    return kind == all.end() ? nullptr : &*kind;
}

uint32_t reopen_flags(uint32_t flags) {
    constexpr uint32_t tmpfile = O_TMPFILE & ~O_DIRECTORY;
    if ((flags & tmpfile) != 0)
        flags &= ~static_cast<uint32_t>(O_TMPFILE);
    flags &= ~static_cast<uint32_t>(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | O_ASYNC | O_APPEND);
    return (flags & O_PATH) != 0 ? flags : flags | O_NOCTTY | O_NONBLOCK;
}

Result<int> Context::open_file(model::ObjRef id) {
    if (const auto made = made_.find(id); made != made_.end())
        return made->second.get();
    const model::OpenFile *file = TRY(find(tree.open_files, id));
    const Kind *kind = kind_of(*file);
    if (kind == nullptr)
        return fail(EBADMSG, "open file {} of the checkpoint is of an unknown kind", id);
    Fd fd = TRY(kind->create(*this, *file));
    return made_.insert_or_assign(id, std::move(fd)).first->second.get();
}

Result<> restore_state(int fd, const model::OpenFile &file, bool in_a_table) {
    if ((file.flags & O_PATH) != 0)
        return {};
    // of a file that has just been opened it is known which of these flags it has
    const bool opened = std::holds_alternative<model::DiskFile>(file.payload);
    const int current = opened ? static_cast<int>(reopen_flags(file.flags)) : ::fcntl(fd, F_GETFL);
    if (current < 0)
        return fail(errno, "cannot ask for its flags");
    const uint32_t wanted = (static_cast<uint32_t>(current) & ~settable_flags) | (file.flags & settable_flags);
    if (wanted != static_cast<uint32_t>(current) && ::fcntl(fd, F_SETFL, wanted) < 0)
        return fail(errno, "cannot set its flags to 0{:o}", wanted);
    if (is_seekable(file) && file.position != 0 && ::lseek(fd, static_cast<off_t>(file.position), SEEK_SET) < 0)
        return fail(errno, "cannot set its position to {}", file.position);
    if (file.owner.signal != 0 && ::fcntl(fd, F_SETSIG, file.owner.signal) < 0)
        return fail(errno, "cannot choose its signal");
    if (!in_a_table) // on its way in a socket: no task can do it
        for (const auto &lock : file.locks)
            TRY(restore_lock(fd, lock));
    return {};
}

Result<> restore_in_task(Context &context, const model::Task &task, const model::Descriptor &descriptor,
                         const model::OpenFile &file, os::Batch &batch) {
    auto &state = context.state<InTasks>();
    if (state.tables.empty())
        for (const auto &other : context.tree.tasks)
            state.tables[other.pid] = other.descriptors;
    append_own_locks(context, task, descriptor, file, batch);
    if (!file.locks.empty() && state.locks.insert({task.descriptors, file.id}).second)
        for (const auto &lock : file.locks) {
            const auto table = state.tables.find(lock.pid);
            if (lock.kind != model::FileLock::Kind::posix || table == state.tables.end() ||
                table->second != task.descriptors)
                continue;
            const uint64_t range = batch.put(to_flock(lock));
            batch.must(fmt::format("descriptor {}: cannot lock the file again", descriptor.number), SYS_fcntl,
                       descriptor.number, F_SETLK, range);
        }
    const bool is_group = file.owner.type == F_OWNER_PGRP;
    const int owner = is_group ? group_seen_by(context.tree, task, file.owner.pid)
                               : process_seen_by(context.tree, task, file.owner.pid);
    // an owner in a pid namespace above: another task that has the file sees it
    if (owner == 0 || !state.owners.insert(file.id).second)
        return {};
    const auto group_exists = [&](const model::Task &other) { return other.process_group == file.owner.pid; };
    const bool exists =
        is_group ? std::ranges::any_of(context.tree.tasks, group_exists) : state.tables.contains(file.owner.pid);
    if (exists)
        append_owner(file, owner, descriptor.number, batch);
    if ((file.flags & O_ASYNC) != 0)
        batch.must(fmt::format("descriptor {}: cannot ask for signals again", descriptor.number), SYS_fcntl,
                   descriptor.number, F_SETFL, file.flags & (settable_flags | O_ASYNC));
    return {};
}

} // namespace abey::rebuild
