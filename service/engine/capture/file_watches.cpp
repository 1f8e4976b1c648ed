// SPDX-License-Identifier: LGPL-2.1-or-later
//
// inotify(7): the kernel knows the watched inodes, not how they were called. fdinfo (proc(5)) tells number, device and,
// where the file system has them, file handles.
#include "engine/capture/file_watches.h"
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"
#include "engine/os/long_path.h"
#include "engine/os/mounts.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <set>

#include <dirent.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

namespace abey::capture {
namespace file_watches {
namespace {

// How many names are looked at when there is no other way to find a watched file, for all of them together.
constexpr size_t most_names = 50'000;

// Context::state
struct Watches {
    bool mounts_read = false;
    std::multimap<uint64_t, std::string> mounts; // by device as fdinfo shows it: where something of it is mounted
    std::set<std::string, std::less<>> points;   // all places where something is mounted
    Fd probe;                                    // an inotify instance of ours
    size_t names_left = most_names;
};

bool matches(const Seen &seen) { return seen.link == "anon_inode:inotify" || seen.link == "anon_inode:[inotify]"; }

Result<model::Payload> capture(Context & /*context*/, const Seen & /*seen*/) { return model::FileWatches{}; }

// The kernel's own dev_t: major << 20 | minor.
uint64_t kernel_device(unsigned major, unsigned minor) { return uint64_t{major} << 20U | minor; }

Result<> read_mounts(Watches &state) {
    if (std::exchange(state.mounts_read, true))
        return {};
    for (const os::MountEntry &mount : TRY(os::own_mounts()))
        state.mounts.emplace(kernel_device(mount.major, mount.minor), *state.points.insert(mount.point).first);
    return {};
}

// Is it the file of the watch? The kernel describes a watch of ours on it in the same words.
Result<bool> is_watched(Watches &state, const Fd &file, const WatchLine &line) {
    if (!state.probe) {
        state.probe = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
        if (!state.probe)
            return fail(errno, "cannot make an inotify instance");
    }
    const std::string path = fmt::format("/proc/self/fd/{}", file.get());
    const int watch = ::inotify_add_watch(state.probe.get(), path.c_str(), IN_DELETE_SELF);
    if (watch < 0)
        return false;
    const auto info = read_file(fmt::format("/proc/self/fdinfo/{}", state.probe.get()));
    ::inotify_rm_watch(state.probe.get(), watch);
    if (!info)
        return false;
    const auto own = TRY(parse_watch_lines(*info));
    return own.size() == 1 && own.front().identity == line.identity;
}

struct Found {
    Fd file; // O_PATH
    std::string path;
};

// What the path leads to, when that is the watched file.
Result<std::optional<Found>> at_path(Watches &state, const std::string &path, const WatchLine &line) {
    auto file = abey::open_file(path, O_PATH | O_NOFOLLOW);
    if (!file || !TRY(is_watched(state, *file, line)))
        return std::nullopt;
    return Found{std::move(*file), path};
}

// By the file handle. The kernel may know no name of it, or one that is not below this mount.
Result<std::optional<Found>> by_handle(Watches &state, const WatchLine &line) {
    if (line.handle.empty())
        return std::nullopt;
    alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> buffer = {};
    if (line.handle.size() > MAX_HANDLE_SZ)
        return std::nullopt;
    auto *handle = reinterpret_cast<file_handle *>(buffer.data());
    handle->handle_bytes = static_cast<unsigned>(line.handle.size());
    handle->handle_type = line.handle_type;
    std::copy(line.handle.begin(), line.handle.end(), buffer.data() + sizeof(file_handle));
    const auto [first, last] = state.mounts.equal_range(line.device);
    for (auto mount = first; mount != last; ++mount) {
        const auto point = abey::open_file(mount->second, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
        if (!point)
            continue;
        const Fd file(::open_by_handle_at(point->get(), handle, O_PATH | O_CLOEXEC));
        if (!file)
            continue;
        const std::string path = TRY(os::shown_path(file));
        if (auto found = TRY(at_path(state, path, line)))
            return found;
    }
    return std::nullopt;
}

// Programs mostly watch what they have open, or the directories above that.
Result<std::optional<Found>> above_open_files(Context &context, Watches &state, const WatchLine &line) {
    std::set<std::string, std::less<>> seen;
    for (const auto &[id, inode] : context.tree.inodes)
        for (std::string_view path = inode.path; path.size() > 1 && path.front() == '/';) {
            if (!seen.emplace(path).second)
                break;
            struct stat st = {};
            if (::lstat(std::string(path).c_str(), &st) == 0 && st.st_ino == line.inode)
                if (auto found = TRY(at_path(state, std::string(path), line)))
                    return found;
            path = path.substr(0, path.rfind('/'));
        }
    return std::nullopt;
}

// Among the names of the file system, breadth first.
Result<std::optional<Found>> by_search(Watches &state, const WatchLine &line) {
    std::deque<std::string> directories;
    const auto [first, last] = state.mounts.equal_range(line.device);
    for (auto mount = first; mount != last; ++mount)
        directories.push_back(mount->second);
    for (const std::string &top : directories)
        if (auto found = TRY(at_path(state, top, line)))
            return found;
    while (!directories.empty() && state.names_left > 0) {
        const std::string path = std::move(directories.front());
        directories.pop_front();
        const std::unique_ptr<DIR, int (*)(DIR *)> entries(::opendir(path.c_str()), ::closedir);
        if (!entries)
            continue;
        while (const dirent *entry = ::readdir(entries.get())) {
            const std::string_view name = entry->d_name;
            if (name == "." || name == ".." || state.names_left == 0)
                continue;
            --state.names_left;
            const std::string full = path == "/" ? fmt::format("/{}", name) : fmt::format("{}/{}", path, name);
            if (entry->d_ino == line.inode)
                if (auto found = TRY(at_path(state, full, line)))
                    return found;
            // what is mounted there is another file system, or one of the places that the search began at
            if (entry->d_type == DT_DIR && !state.points.contains(full))
                directories.push_back(full);
        }
    }
    return std::nullopt;
}

// Only directories and what the tree has open are kept and made again like open files: a watch alone does not care
// about a file's contents. What the kernel itself shows has no lasting identity.
Result<model::ObjRef> inode_of(Context &context, const Seen &holder, const Found &found) {
    Seen seen;
    seen.pid = holder.pid;
    seen.comm = holder.comm;
    seen.place = "watched file";
    seen.file = &found.file;
    seen.stat = TRY(stat_of(found.file));
    seen.link = TRY(os::shown_path(found.file));
    seen.flags = O_PATH;
    struct statfs fs = {};
    if (::fstatfs(found.file.get(), &fs) < 0)
        return fail(errno, "cannot ask for the file system of {}", found.path);
    if (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC)
        return model::ObjRef{0};
    if (!S_ISDIR(seen.stat.st_mode) &&
        !context.state<Inodes>().known.contains({uint64_t{seen.stat.st_dev}, uint64_t{seen.stat.st_ino}, uint64_t{0}}))
        return model::ObjRef{0};
    return context.inode(seen);
}

// A file that has lost its name lives on in whoever has it open.
std::optional<std::pair<model::ObjRef, std::string>> known_inode(Context &context, Watches &state,
                                                                 const WatchLine &line) {
    const auto &files = context.state<OpenFiles>();
    for (const auto &[id, open] : context.tree.open_files) {
        const auto *disk = std::get_if<model::DiskFile>(&open.payload);
        if (disk == nullptr)
            continue;
        const auto &inode = context.tree.inodes.at(disk->inode);
        if (inode.identity.number != line.inode)
            continue;
        const auto entry = files.get(id);
        if (!entry)
            continue; // preflight
        if (const auto same = is_watched(state, (*entry)->file, line); same && *same)
            return std::pair(disk->inode, inode.path);
    }
    return std::nullopt;
}

} // namespace
} // namespace file_watches

Result<model::Watch> capture_watch(Context &context, const Seen &holder, const WatchLine &line) {
    auto &state = context.state<file_watches::Watches>();
    TRY(file_watches::read_mounts(state));
    model::Watch watch{.number = line.number, .mask = line.mask, .inode = 0, .path = {}, .file = line.inode};
    auto found = TRY(file_watches::by_handle(state, line));
    if (!found) {
        if (auto known = file_watches::known_inode(context, state, line)) {
            watch.inode = known->first;
            watch.path = std::move(known->second);
            return watch;
        }
        found = TRY(file_watches::above_open_files(context, state, line));
        if (!found)
            found = TRY(file_watches::by_search(state, line));
    }
    if (!found)
        return fail(0,
                    "it watches a file that cannot be found by any name (inode {} of device {}:{}); end the program "
                    "that watches it",
                    line.inode, line.device >> 20U, line.device & 0xfffffU);
    watch.inode = TRY(file_watches::inode_of(context, holder, *found));
    watch.path = std::move(found->path);
    return watch;
}

namespace file_watches {
namespace {

Result<> complete_one(Context &context, const OpenFiles::Entry &entry, model::FileWatches &file) {
    int unread = 0;
    if (::ioctl(entry.file.get(), FIONREAD, &unread) < 0)
        return fail(errno, "cannot ask for unread events");
    file.unread = unread > 0;
    const std::string info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", entry.file.get())));
    for (const WatchLine &line : TRY(parse_watch_lines(info)))
        file.watches.push_back(TRY(capture_watch(context, entry.seen, line)));
    std::ranges::sort(file.watches, {}, &model::Watch::number);
    return {};
}

Result<> complete(Context &context) { return complete_each<model::FileWatches>(context, complete_one); }

} // namespace
} // namespace file_watches

Kind file_watches_kind() {
    return {.name = "inotify",
            .matches = file_watches::matches,
            .capture = file_watches::capture,
            .complete = file_watches::complete,
            .held = true};
}

} // namespace abey::capture
