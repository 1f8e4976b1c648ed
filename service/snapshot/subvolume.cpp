// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/subvolume.h"

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include <btrfsutil.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

namespace abey::snapshot {
namespace {

// libbtrfsutil keeps errno; its own code tells which step failed.
std::unexpected<Error> failed(btrfs_util_error error, const std::string &what) {
    const int code = errno;
    return fail(code, "{} ({})", what, btrfs_util_strerror(error));
}

std::string text_of(std::span<const uint8_t, BTRFS_UUID_SIZE> uuid) {
    if (std::ranges::all_of(uuid, [](uint8_t byte) { return byte == 0; }))
        return "";
    std::string text;
    for (size_t i = 0; i < uuid.size(); ++i)
        text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    return text;
}

} // namespace

Result<Fd> open_directory(int parent, const std::string &path) {
    return open_at(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<Fd> open_below(const Fd &top, const std::string &path, int flags) {
    open_how how{};
    how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const auto fd = ::syscall(SYS_openat2, top.get(), path.empty() ? "." : path.c_str(), &how, sizeof how);
    if (fd < 0)
        return fail(errno, "cannot open {}, in a subvolume", path);
    return Fd(static_cast<int>(fd));
}

bool is_btrfs(const Fd &file) {
    struct statfs status {};
    return ::fstatfs(file.get(), &status) == 0 && status.f_type == BTRFS_SUPER_MAGIC;
}

bool is_subvolume(const Fd &directory) { return btrfs_util_is_subvolume_fd(directory.get()) == BTRFS_UTIL_OK; }

Result<Subvolume> subvolume_of(const Fd &directory, const std::string &path) {
    if (!is_subvolume(directory))
        return fail(EINVAL, "{} is not a btrfs subvolume", path);
    struct btrfs_util_subvolume_info info {};
    if (const auto error = btrfs_util_subvolume_info_fd(directory.get(), 0, &info); error != BTRFS_UTIL_OK)
        return failed(error, fmt::format("cannot read what subvolume {} is", path));
    return Subvolume{.id = info.id,
                     .uuid = text_of(info.uuid),
                     .parent_uuid = text_of(info.parent_uuid),
                     .created = info.otransid,
                     .read_only = (info.flags & BTRFS_ROOT_SUBVOL_RDONLY) != 0};
}

Result<Subvolume> child_subvolume(const Fd &parent, const std::string &name) {
    const auto directory = TRY(open_directory(parent.get(), name));
    return subvolume_of(directory, name);
}

Result<std::string> filesystem_of(const Fd &file, const std::string &path) {
    btrfs_ioctl_fs_info_args info{};
    if (::ioctl(file.get(), BTRFS_IOC_FS_INFO, &info) < 0)
        return fail(errno, "cannot read the UUID of the file system of {}", path);
    return text_of(info.fsid);
}

Result<std::vector<std::string>> nested_in(const Fd &directory, const std::string &path, size_t limit) {
    btrfs_util_subvolume_iterator *raw = nullptr;
    if (const auto error = btrfs_util_create_subvolume_iterator_fd(directory.get(), 0, 0, &raw); error != BTRFS_UTIL_OK)
        return failed(error, fmt::format("cannot list the subvolumes in {}", path));
    const std::unique_ptr<btrfs_util_subvolume_iterator, decltype(&btrfs_util_destroy_subvolume_iterator)> iterator(
        raw, btrfs_util_destroy_subvolume_iterator);
    std::vector<std::string> found;
    while (found.size() < limit) {
        char *name = nullptr;
        const auto error = btrfs_util_subvolume_iterator_next(iterator.get(), &name, nullptr);
        if (error == BTRFS_UTIL_ERROR_STOP_ITERATION)
            break;
        if (error != BTRFS_UTIL_OK)
            return failed(error, fmt::format("cannot list the subvolumes in {}", path));
        const std::unique_ptr<char, decltype(&::free)> owned(name, ::free);
        found.emplace_back(name);
    }
    return found;
}

Result<> make_snapshot(const Fd &source, const Fd &parent, const std::string &name, bool read_only) {
    const auto error =
        btrfs_util_create_snapshot_fd2(source.get(), parent.get(), name.c_str(),
                                       read_only ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0, nullptr, nullptr);
    if (error != BTRFS_UTIL_OK)
        return failed(error, fmt::format("cannot make the snapshot {}", name));
    return {};
}

Result<> set_read_only(const Fd &subvolume, bool read_only, const std::string &path) {
    if (const auto error = btrfs_util_set_subvolume_read_only_fd(subvolume.get(), read_only); error != BTRFS_UTIL_OK)
        return failed(error,
                      fmt::format("cannot make the subvolume {} {}", path, read_only ? "read-only" : "writable"));
    return {};
}

Result<> make_subvolume(const Fd &parent, const std::string &name) {
    const auto error = btrfs_util_create_subvolume_fd(parent.get(), name.c_str(), 0, nullptr, nullptr);
    if (error != BTRFS_UTIL_OK)
        return failed(error, fmt::format("cannot make the subvolume {}", name));
    return {};
}

Result<> delete_subvolume(const Fd &parent, const std::string &name) {
    if (const auto error = btrfs_util_delete_subvolume_fd(parent.get(), name.c_str(), 0);
        error != BTRFS_UTIL_OK && errno != ENOENT)
        return failed(error, fmt::format("cannot delete the subvolume {}", name));
    return {};
}

Result<> commit_transaction(const Fd &file, const std::string &path) {
    uint64_t transaction = 0;
    if (const auto error = btrfs_util_start_sync_fd(file.get(), &transaction); error != BTRFS_UTIL_OK)
        return failed(error, fmt::format("cannot write the file system of {} to disk", path));
    if (const auto error = btrfs_util_wait_sync_fd(file.get(), transaction); error != BTRFS_UTIL_OK)
        return failed(error, fmt::format("cannot write the file system of {} to disk", path));
    return {};
}

} // namespace abey::snapshot
