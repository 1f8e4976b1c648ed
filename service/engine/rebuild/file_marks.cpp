// SPDX-License-Identifier: LGPL-2.1-or-later
//
// fanotify(7). As for inotify, marks are added last.
#include "engine/os/kernel.h"
#include "engine/rebuild/file_watches.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/unix_names.h"

#include <array>
#include <optional>

#include <linux/capability.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace file_marks {
namespace {

// The kernel remembers of a group whether it was made with CAP_SYS_ADMIN, and counts it to its maker. Root may have
// made it without, too.
class AsMaker {
  public:
    explicit AsMaker(const model::FileMarks &file) {
        if (file.privileged)
            return;
        if (file.uid != 0)
            user_.emplace(file.uid, file.gid);
        else if (::syscall(SYS_capget, &header_, before_.data()) == 0) {
            auto less = before_;
            less[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
            dropped_ = ::syscall(SYS_capset, &header_, less.data()) == 0;
        }
    }
    AsMaker(const AsMaker &) = delete;
    AsMaker &operator=(const AsMaker &) = delete;
    ~AsMaker() {
        if (dropped_)
            ::syscall(SYS_capset, &header_, before_.data());
    }

  private:
    std::optional<ActingAs> user_;
    __user_cap_header_struct header_ = {_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> before_ = {};
    bool dropped_ = false;
};

Result<Fd> create(Context & /*context*/, const model::OpenFile &file) {
    const auto &saved = std::get<model::FileMarks>(file.payload);
    const AsMaker maker(saved);
    Fd fd(::fanotify_init(saved.flags, saved.event_flags)); // the group remembers FAN_CLOEXEC, too
    if (!fd || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) < 0)
        return fail(errno, "cannot make a fanotify group");
    return fd;
}

Result<> add(int fd, const model::FileMarks &file, const model::FileMark &mark, const Fd &target) {
    const std::string path = fmt::format("/proc/self/fd/{}", target.get());
    const uint32_t always = FAN_MARK_ADD | mark.kind | (mark.flags & kernel::fan_mark_evictable);
    const AsMaker maker(file);
    if (mark.watch.mask != 0 && ::fanotify_mark(fd, always, mark.watch.mask, AT_FDCWD, path.c_str()) < 0)
        return fail(errno, "cannot watch {} again", mark.watch.path);
    const uint32_t ignoring =
        (mark.flags & kernel::fan_mark_ignore) != 0 ? kernel::fan_mark_ignore : uint32_t{FAN_MARK_IGNORED_MASK};
    if (mark.ignored != 0 && ::fanotify_mark(fd, always | ignoring | (mark.flags & FAN_MARK_IGNORED_SURV_MODIFY),
                                             mark.ignored, AT_FDCWD, path.c_str()) < 0)
        return fail(errno, "cannot ignore {} again", mark.watch.path);
    return {};
}

Result<Fd> find_target(Context &context, const model::FileMark &mark) {
    bool changed = false;
    if (mark.kind == FAN_MARK_INODE)
        return find_watched(context, mark.watch, changed);
    Fd place = TRY_IN(abey::open_file(mark.watch.path, O_PATH | O_NOFOLLOW), "cannot watch a mount again");
    struct statx status = {};
    if (::statx(place.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0 ||
        (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0)
        return fail(ENOTDIR, "{} was watched, and nothing is mounted there any more; mount it again", mark.watch.path);
    return place;
}

Result<> finish(Context &context) {
    struct Pending {
        int fd;
        const model::FileMarks *file;
        const model::FileMark *mark;
        Fd target;
    };
    std::vector<Pending> all;
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *marks = std::get_if<model::FileMarks>(&file.payload);
        if (marks == nullptr)
            continue;
        const int fd = TRY(context.open_file(id));
        for (const model::FileMark &mark : marks->marks)
            if (Fd target = TRY(find_target(context, mark)))
                all.push_back({fd, marks, &mark, std::move(target)});
    }
    for (const Pending &one : all)
        TRY(add(one.fd, *one.file, *one.mark, one.target));
    return {};
}

} // namespace
} // namespace file_marks

Kind file_marks_kind() {
    return {.name = "fanotify",
            .payload = payload_index<model::FileMarks>(),
            .create = file_marks::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = file_marks::finish};
}

} // namespace abey::rebuild
