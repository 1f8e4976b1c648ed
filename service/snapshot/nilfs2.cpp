// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/nilfs2.h"

#include <filesystem>

#include <linux/magic.h>
#include <linux/nilfs2_api.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

namespace abey::snapshot {
namespace {

constexpr int sync_attempts = 3;
constexpr const char *mounted_checkpoints = "/run/abeyance/checkpoints";

Result<> set_mode(const Fd &directory, uint64_t number, uint32_t mode) {
    struct nilfs_cpmode change {};
    change.cm_cno = number;
    change.cm_mode = mode;
    if (::ioctl(directory.get(), NILFS_IOCTL_CHANGE_CPMODE, &change) < 0)
        return fail(errno, "cannot make checkpoint {} of the file system {}", number,
                    mode == NILFS_SNAPSHOT ? "a snapshot" : "one that may be cleaned away");
    return {};
}

// The line of mountinfo that a path lies in.
Result<os::MountEntry> mount_of_path(const std::string &path) {
    struct statx status {};
    if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &status) < 0)
        return fail(errno, "cannot stat {}", path);
    for (auto &mount : TRY(os::own_mounts()))
        if (mount.id == status.stx_mnt_id)
            return std::move(mount);
    return fail(ENOENT, "cannot find the mount that {} lies in", path);
}

} // namespace

bool is_nilfs2(const Fd &directory) {
    struct statfs status {};
    return ::fstatfs(directory.get(), &status) == 0 && status.f_type == NILFS_SUPER_MAGIC;
}

Result<bool> is_kept_checkpoint(const Fd &directory, uint64_t number) {
    struct nilfs_cpinfo found {};
    struct nilfs_argv wanted {};
    wanted.v_base = reinterpret_cast<uintptr_t>(&found);
    wanted.v_nmembs = 1;
    wanted.v_size = sizeof found;
    wanted.v_index = number;
    wanted.v_flags = NILFS_CHECKPOINT; // all of them, from that number on
    if (::ioctl(directory.get(), NILFS_IOCTL_GET_CPINFO, &wanted) < 0)
        return fail(errno, "cannot ask for checkpoint {} of the file system", number);
    return wanted.v_nmembs == 1 && found.ci_cno == number && nilfs_cpinfo_snapshot(&found) != 0;
}

Result<uint64_t> write_checkpoint(const Fd &directory) {
    for (int attempt = 0; attempt < sync_attempts; ++attempt) {
        __u64 number = 0;
        if (::ioctl(directory.get(), NILFS_IOCTL_SYNC, &number) < 0)
            return fail(errno, "cannot have the file system write a checkpoint");
        if (!TRY(is_kept_checkpoint(directory, number)))
            return number;
        // Nothing was written since somebody's snapshot, which is not ours to take away later: something is now.
        if (::futimens(directory.get(), nullptr) < 0)
            return fail(errno, "cannot have the file system write something");
    }
    return fail(EBUSY, "somebody else makes snapshots of each checkpoint of the file system");
}

Result<> keep_checkpoint(const Fd &directory, uint64_t number) { return set_mode(directory, number, NILFS_SNAPSHOT); }

Result<> release_checkpoint(const Fd &directory, uint64_t number) {
    auto released = set_mode(directory, number, NILFS_CHECKPOINT);
    if (!released && released.error().code() == ENOENT)
        return {};
    return released;
}

Result<MountedCheckpoint> MountedCheckpoint::mount(const std::string &path, uint64_t number) {
    const auto live = TRY(mount_of_path(path));
    const auto below = live.point == "/" ? path : path.substr(live.point.size());
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(mounted_checkpoints).parent_path(), error);
    auto mounted = TRY(TopLevel::mount(live.source, mounted_checkpoints, "nilfs2", fmt::format("cp={}", number)));
    auto inside = mounted.path() + (live.root == "/" ? "" : live.root) + below;
    return MountedCheckpoint(std::move(mounted), std::move(inside));
}

} // namespace abey::snapshot
