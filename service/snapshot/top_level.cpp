// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/top_level.h"

#include "engine/os/kernel.h"
#include "snapshot/area.h"

#include <algorithm>
#include <array>
#include <utility>

#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>

namespace abey::snapshot {
namespace {

constexpr std::array<std::pair<std::string_view, unsigned long>, 6> mount_flags = {{{"ro", MS_RDONLY},
                                                                                    {"nosuid", MS_NOSUID},
                                                                                    {"nodev", MS_NODEV},
                                                                                    {"noexec", MS_NOEXEC},
                                                                                    {"noatime", MS_NOATIME},
                                                                                    {"nodiratime", MS_NODIRATIME}}};

unsigned long flags_of(const os::MountEntry &mount) {
    unsigned long flags = 0;
    std::string_view rest = mount.options;
    while (!rest.empty()) {
        const size_t end = std::min(rest.find(','), rest.size());
        for (const auto &[name, flag] : mount_flags)
            if (rest.substr(0, end) == name)
                flags |= flag;
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return flags;
}

Result<> make_directory(const std::string &path, mode_t mode) {
    if (::mkdir(path.c_str(), mode) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", path);
    const auto directory = TRY(open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const auto status = TRY(stat_of(directory));
    if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(EPERM, "{}: others than root may write there", path);
    return {};
}

// A mount that is private, so that nothing of what happens to it is passed on.
Result<> mount_private(const std::string &source, const std::string &place, const char *type, unsigned long flags,
                       const char *data) {
    if (::mount(source.c_str(), place.c_str(), type, flags, data) < 0)
        return fail(errno, "cannot mount {} on {}", source, place);
    if (::mount(nullptr, place.c_str(), nullptr, MS_PRIVATE, nullptr) < 0) {
        const int error = errno;
        ::umount2(place.c_str(), MNT_DETACH);
        return fail(error, "cannot make the mount on {} private", place);
    }
    return {};
}

void take_away(const std::string &path) {
    ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::rmdir(path.c_str());
    ::unlink((path + ".lock").c_str());
}

// Those whose owner is dead.
Result<> sweep_places(const std::string &directory) {
    constexpr std::string_view suffix = ".lock";
    const auto opened = TRY(open_directory(AT_FDCWD, directory));
    for (const auto &name : TRY(names_in(opened))) {
        if (!name.ends_with(suffix))
            continue;
        const auto lock = open_at(opened.get(), name, O_RDWR | O_NOFOLLOW);
        if (lock && ::flock(lock->get(), LOCK_EX | LOCK_NB) == 0)
            take_away(directory + "/" + name.substr(0, name.size() - suffix.size()));
    }
    return {};
}

} // namespace

Result<TopLevel> TopLevel::mount(const std::string &source, const std::string &directory, const std::string &type,
                                 const std::string &data) {
    TRY(make_directory(directory, 0700));
    const auto all = TRY(open_directory(AT_FDCWD, directory));
    if (::flock(all.get(), LOCK_EX) < 0) // one at a time makes or sweeps
        return fail(errno, "cannot lock {}", directory);
    TRY(sweep_places(directory));
    auto path = directory + "/top-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr)
        return fail(errno, "cannot make a directory in {}", directory);
    auto lock = open_file(path + ".lock", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (!lock || ::flock(lock->get(), LOCK_EX | LOCK_NB) < 0) {
        const int error = lock ? errno : lock.error().code();
        take_away(path);
        return fail(error, "cannot lock {}", path);
    }
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (type == "nilfs2" ? MS_RDONLY : 0);
    if (auto mounted = mount_private(source, path, type.c_str(), flags, data.c_str()); !mounted) {
        take_away(path);
        return within(std::move(mounted).error(), "{} of the file system", data);
    }
    return TopLevel(std::move(*lock), std::move(path));
}

TopLevel::~TopLevel() {
    if (!path_.empty())
        take_away(path_);
}

Result<os::MountEntry> mount_at(const std::string &path) {
    struct statx status {};
    if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &status) < 0)
        return fail(errno, "cannot stat {}", path);
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        for (auto &mount : TRY(os::own_mounts()))
            if (mount.id == status.stx_mnt_id)
                return std::move(mount);
    return fail(EINVAL, "{} is not a mount point", path);
}

Result<> renew_mount(const os::MountEntry &old, const std::string &directory) {
    const Fd fresh(
        static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, directory.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
    if (!fresh)
        return fail(errno, "cannot have a further mount of {}", directory);
    const auto move = [&](unsigned flags) {
        return ::syscall(SYS_move_mount, fresh.get(), "", AT_FDCWD, old.point.c_str(),
                         MOVE_MOUNT_F_EMPTY_PATH | flags) == 0;
    };
    // Its options before anybody sees it.
    struct {
        uint64_t set, clear, propagation, user_namespace;
    } attributes{};
    constexpr uint64_t times = 0x70; // MOUNT_ATTR__ATIME, mount_setattr(2)
    constexpr std::array<std::pair<unsigned long, uint64_t>, 5> as_attribute = {
        {{MS_RDONLY, 0x1}, {MS_NOSUID, 0x2}, {MS_NODEV, 0x4}, {MS_NOEXEC, 0x8}, {MS_NODIRATIME, 0x80}}};
    const auto flags = flags_of(old);
    for (const auto &[flag, attribute] : as_attribute)
        ((flags & flag) != 0 ? attributes.set : attributes.clear) |= attribute;
    attributes.clear |= times;
    attributes.set |= (flags & MS_NOATIME) != 0 ? 0x10U : 0U;
    if (::syscall(SYS_mount_setattr, fresh.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
        return fail(errno, "cannot set the options of the mount on {}", old.point);
    if (move(kernel::move_mount_beneath)) {
        if (::umount2(old.point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return fail(errno, "cannot take the former mount on {} away", old.point);
        return {};
    }
    if (!move(0))
        return fail(errno, "cannot mount {} on {}", directory, old.point);
    return {};
}

Result<> show_at(const std::string &place, const std::string &directory, const os::MountEntry &like) {
    TRY(make_directory(place, 0711));
    struct stat wanted {};
    struct stat there {};
    if (::stat(directory.c_str(), &wanted) < 0 || ::stat(place.c_str(), &there) < 0)
        return fail(errno, "cannot look at {}", place);
    if (wanted.st_dev == there.st_dev && wanted.st_ino == there.st_ino)
        return {};
    TRY(mount_private(directory, place, nullptr, MS_BIND, nullptr));
    if (::mount(nullptr, place.c_str(), nullptr, MS_REMOUNT | MS_BIND | flags_of(like), nullptr) < 0) {
        const int error = errno;
        ::umount2(place.c_str(), MNT_DETACH);
        return fail(error, "cannot set the options of the mount on {}", place);
    }
    return {};
}

} // namespace abey::snapshot
