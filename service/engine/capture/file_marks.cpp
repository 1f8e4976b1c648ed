// SPDX-License-Identifier: LGPL-2.1-or-later
//
// fanotify(7): fdinfo (proc_pid_fdinfo(5)) tells what the group was made with and what it has marked, the files as for
// inotify. Nothing tells whether the group was made without CAP_SYS_ADMIN, which the kernel remembers, and by whom:
// that is read from the kernel by BPF.
#include "engine/capture/file_watches.h"
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"
#include "engine/os/mount_table.h"
#include "engine/os/procfs.h"
#include "engine/os/task_reader.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace abey::capture {
namespace file_marks {
namespace {

constexpr uint32_t pre_access = 0x100000; // FAN_PRE_ACCESS, Linux 6.14
constexpr uint32_t asks = FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | pre_access;

bool matches(const Seen &seen) { return seen.link == "anon_inode:[fanotify]"; }

Result<model::Payload> capture(Context & /*context*/, const Seen & /*seen*/) { return model::FileMarks{}; }

constexpr uint32_t made_without_capability = 0x80000000; // FANOTIFY_UNPRIV, include/linux/fanotify.h

// Only flags and marks that an unprivileged group may have (fanotify_init(2), fanotify_mark(2)).
bool may_be_unprivileged(const MarksInfo &info) {
    constexpr uint32_t privileged_flags = FAN_CLASS_CONTENT | FAN_CLASS_PRE_CONTENT | FAN_UNLIMITED_QUEUE |
                                          FAN_UNLIMITED_MARKS | FAN_ENABLE_AUDIT | FAN_REPORT_TID | FAN_REPORT_PIDFD;
    return (info.flags & privileged_flags) == 0 && (info.flags & FAN_REPORT_FID) != 0 &&
           std::ranges::all_of(info.marks, [](const MarkLine &mark) { return mark.kind == FAN_MARK_INODE; });
}

// Context::state: read when the first group needs it, for it takes a while.
struct TypesOfGroups {
    std::optional<Result<os::KernelTypes>> types;
};

Result<std::string> look_at_group(Context &context, const Fd &group) {
    auto &types = context.state<TypesOfGroups>().types;
    if (!types)
        types = os::KernelTypes::read();
    if (!*types)
        return std::unexpected(types->error());
    return TRY(os::TaskReader::of_group(**types, group.get())).read(::gettid());
}

Result<> set_maker(Context &context, const OpenFiles::Entry &entry, const MarksInfo &info, model::FileMarks &file) {
    const auto status = TRY(os::read_status(entry.seen.pid));
    file.uid = status.uids[1]; // effective
    file.gid = status.gids[1];
    file.privileged = !may_be_unprivileged(info);
    if (file.privileged)
        return {};
    const std::string told = TRY_IN(look_at_group(context, entry.file),
                                    "it cannot be told whether this group was made with CAP_SYS_ADMIN; end the program "
                                    "that watches");
    uint32_t flags = 0;
    std::memcpy(&flags, told.data(), sizeof flags);
    std::memcpy(&file.uid, told.data() + sizeof flags, sizeof file.uid);
    if ((flags & info.flags) != info.flags)
        return fail(EBADMSG, "the kernel keeps this group in a way that is not known; end the program that watches");
    file.privileged = (flags & made_without_capability) == 0;
    return {};
}

// Where the mount is, or one of the file system.
Result<model::Watch> capture_mount(const MarkLine &mark, const std::vector<os::MountLine> &mounts) {
    const auto found = std::ranges::find_if(mounts, [&mark](const os::MountLine &line) {
        return mark.kind == FAN_MARK_MOUNT ? static_cast<uint64_t>(line.id) == mark.mount
                                           : (uint64_t{line.major} << 20U | line.minor) == mark.file.device;
    });
    if (found == mounts.end())
        return fail(0, "it watches a {} that is not mounted in the session; end the program that watches",
                    mark.kind == FAN_MARK_MOUNT ? "mount" : "file system");
    return model::Watch{.number = 0, .mask = mark.file.mask, .inode = 0, .path = found->place, .file = 0};
}

Result<> complete_one(Context &context, const OpenFiles::Entry &entry, model::FileMarks &file) {
    const std::string text = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", entry.file.get())));
    const MarksInfo info = TRY(parse_marks(text));
    // Whoever opens such a file waits for the answer of a program that stands still: we, too.
    if (std::ranges::any_of(info.marks, [](const MarkLine &mark) { return (mark.file.mask & asks) != 0; }))
        return fail(0, "it is asked before files are opened (permission events of fanotify), which nobody can be while "
                       "it stands still; end the program that watches");
    file.flags = info.flags;
    file.event_flags = info.event_flags;
    TRY(set_maker(context, entry, info, file));
    const auto mounts = TRY(os::read_mounts(::getpid()));
    for (const MarkLine &line : info.marks) {
        model::FileMark &mark = file.marks.emplace_back();
        mark.kind = line.kind;
        mark.flags = line.flags;
        mark.ignored = line.ignored;
        mark.watch = line.kind == FAN_MARK_INODE ? TRY(capture_watch(context, entry.seen, line.file))
                                                 : TRY(capture_mount(line, mounts));
    }
    int unread = 0;
    if (::ioctl(entry.file.get(), FIONREAD, &unread) < 0)
        return fail(errno, "cannot ask for unread events");
    if (unread > 0)
        context.findings.push_back({.pid = entry.seen.pid,
                                    .comm = entry.seen.comm,
                                    .object = fmt::format("descriptor {} ({})", entry.seen.number, entry.seen.link),
                                    .reason = "events that are unread in it are lost",
                                    .fatal = false});
    return {};
}

Result<> complete(Context &context) { return complete_each<model::FileMarks>(context, complete_one); }

} // namespace
} // namespace file_marks

Kind file_marks_kind() {
    return {.name = "fanotify",
            .matches = file_marks::matches,
            .capture = file_marks::capture,
            .complete = file_marks::complete,
            .held = true};
}

} // namespace abey::capture
