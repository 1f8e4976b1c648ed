// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inotify(7). Watches are added last, so that they see as little as possible of the restore itself.
#include "engine/rebuild/file_watches.h"

#include "engine/rebuild/kinds.h"

#include <charconv>
#include <vector>

#include <sys/inotify.h>
#include <sys/ioctl.h>

namespace abey::rebuild {
namespace file_watches {
namespace {

// include/uapi/linux/inotify.h, Linux 4.16: the number of the next watch. The C library's header has it not.
constexpr unsigned long set_next_watch = _IOW('I', 0, int32_t);
constexpr uint32_t settable = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;

struct Target {
    const model::Watch *watch = nullptr;
    Fd file; // O_PATH
};

Result<Fd> create(Context & /*context*/, const model::OpenFile & /*file*/) {
    Fd fd(::inotify_init1(IN_CLOEXEC));
    if (!fd)
        return fail(errno, "cannot make an inotify instance");
    return fd;
}

// Leaves one IN_Q_OVERFLOW in the queue: it is filled to its limit with events of our own, which are then read.
Result<> overflow(int fd) {
    const std::string text = TRY(read_file("/proc/sys/fs/inotify/max_queued_events"));
    size_t limit = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), limit).ec != std::errc())
        return fail(EINVAL, "/proc/sys/fs/inotify/max_queued_events is not a number");
    for (size_t i = 0; i <= limit; ++i) { // the one too many is what overflows
        const int watch = ::inotify_add_watch(fd, "/", IN_DELETE_SELF);
        if (watch < 0 || ::inotify_rm_watch(fd, watch) < 0) // leaves an IN_IGNORED
            return fail(errno, "cannot fill an inotify queue");
    }
    int size = 0;
    if (::ioctl(fd, FIONREAD, &size) < 0 || size < static_cast<int>(2 * sizeof(inotify_event)))
        return fail(errno, "cannot fill an inotify queue");
    std::vector<char> own(static_cast<size_t>(size) - sizeof(inotify_event));
    if (::read(fd, own.data(), own.size()) != static_cast<ssize_t>(own.size()))
        return fail(errno, "cannot empty an inotify queue");
    return {};
}

Result<> add(int fd, const Target &target) {
    const int32_t number = target.watch->number;
    if (::ioctl(fd, set_next_watch, number) < 0)
        return fail(errno, "cannot choose the number of a watch");
    const std::string path = fmt::format("/proc/self/fd/{}", target.file.get());
    const int made = ::inotify_add_watch(fd, path.c_str(), target.watch->mask & settable);
    if (made < 0)
        return fail(errno, "cannot watch {} again", target.watch->path);
    if (made != number)
        return fail(EEXIST, "cannot watch {} again as number {}", target.watch->path, number);
    return {};
}

Result<> finish(Context &context) {
    struct Instance {
        int fd;
        std::vector<Target> targets;
    };
    std::vector<Instance> instances;
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *watches = std::get_if<model::FileWatches>(&file.payload);
        if (watches == nullptr)
            continue;
        Instance &instance = instances.emplace_back(Instance{TRY(context.open_file(id)), {}});
        bool look_again = watches->unread;
        for (const model::Watch &watch : watches->watches) {
            Fd target = TRY(find_watched(context, watch, look_again));
            if (target)
                instance.targets.push_back({&watch, std::move(target)});
        }
        if (look_again)
            TRY(overflow(instance.fd));
    }
    // only now: finding one may have made files that another watches
    for (const Instance &instance : instances)
        for (const Target &target : instance.targets)
            TRY(add(instance.fd, target));
    return {};
}

} // namespace
} // namespace file_watches

Result<Fd> find_watched(Context &context, const model::Watch &watch, bool &changed) {
    if (watch.inode != 0)
        return context.files.open(*TRY(find(context.tree.inodes, watch.inode)), O_PATH);
    auto file = abey::open_file(watch.path, O_PATH | O_NOFOLLOW);
    if (!file) {
        changed = true;
        return Fd();
    }
    changed = changed || TRY(stat_of(*file)).st_ino != watch.file;
    return file;
}

Kind file_watches_kind() {
    return {.name = "inotify",
            .payload = payload_index<model::FileWatches>(),
            .create = file_watches::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = file_watches::finish};
}

} // namespace abey::rebuild
