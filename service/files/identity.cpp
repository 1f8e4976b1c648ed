// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/identity.h"

#include "engine/times.h"
#include "policy/file_system.h"

#include <climits>
#include <cstring>

#include <btrfsutil.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

namespace abey::files {

namespace {

uint64_t word(const __fsid_t &id) {
    uint64_t value = 0;
    static_assert(sizeof value == sizeof id);
    std::memcpy(&value, &id, sizeof value);
    return value;
}

// f_fsid comes from the file system's UUID there, so it outlasts a reboot (elsewhere from the device number).
bool has_lasting_fsid(uint64_t fs_type) { return fs_type == BTRFS_SUPER_MAGIC || fs_type == EXT4_SUPER_MAGIC; }

template <class T> bool differ_when_known(T a, T b) { return a != 0 && b != 0 && a != b; }

} // namespace

std::string printable(std::string_view bytes) {
    std::string out;
    for (char c : bytes) {
        auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f)
            out += fmt::format("\\x{:02x}", byte);
        else
            out += c;
    }
    return out;
}

std::string_view type_name(uint32_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "regular file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symbolic link";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    case S_IFCHR:
        return "character device";
    case S_IFBLK:
        return "block device";
    default:
        return "file of unknown type";
    }
}

std::string magic_link(const Fd &file) { return fmt::format("/proc/self/fd/{}", file.get()); }

Result<Fd> reopen(const Fd &file, int flags) { return open_file(magic_link(file), flags); }

Result<> describe(const Fd &file, model::Inode &inode) {
    struct stat stat = TRY(stat_of(file));
    inode.mode = stat.st_mode;
    inode.uid = stat.st_uid;
    inode.gid = stat.st_gid;
    inode.links = stat.st_nlink;
    inode.size = static_cast<uint64_t>(stat.st_size);
    inode.rdev = stat.st_rdev;
    inode.atime = engine::to_time(stat.st_atim);
    inode.mtime = engine::to_time(stat.st_mtim);
    inode.ctime = engine::to_time(stat.st_ctim);

    struct statfs fs = {};
    if (::fstatfs(file.get(), &fs) != 0)
        return fail(errno, "cannot ask for the file system of {}", printable(inode.path));
    inode.identity = {.device = stat.st_dev,
                      .fsid = word(fs.f_fsid),
                      .number = stat.st_ino,
                      .fs_type = static_cast<uint32_t>(fs.f_type)};

    if (S_ISLNK(stat.st_mode)) {
        std::string target(PATH_MAX, '\0');
        const ssize_t size = ::readlinkat(file.get(), "", target.data(), target.size());
        if (size < 0)
            return fail(errno, "cannot read the symbolic link {}", printable(inode.path));
        target.resize(static_cast<size_t>(size));
        inode.target = std::move(target);
    }

    // The rest is asked by ioctl, which O_PATH descriptors do not take; and on a device it would be another one.
    if ((!S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode)) || policy::is_pseudo(inode.identity.fs_type))
        return {};
    Fd own;
    const Fd *asked = &file;
    int flags = ::fcntl(file.get(), F_GETFL);
    if (flags >= 0 && (flags & O_PATH) != 0) {
        auto opened = reopen(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOATIME);
        if (!opened)
            return {}; // unreadable even for us (a stale handle, a lease): what is known has to do
        own = std::move(*opened);
        asked = &own;
    }
    // ioctl_iflags(2); the kernel writes an int, whatever the number's size says. Not every file system has it.
    unsigned int generation[2] = {};
    if (::ioctl(asked->get(), FS_IOC_GETVERSION, generation) == 0)
        inode.identity.generation = generation[0];
    if (inode.identity.fs_type == BTRFS_SUPER_MAGIC) {
        uint64_t subvolume = 0;
        if (::btrfs_util_subvolume_id_fd(asked->get(), &subvolume) == BTRFS_UTIL_OK)
            inode.identity.subvolume = subvolume;
    }
    return {};
}

Result<uint64_t> mount_of(const Fd &file) {
    struct statx stat = {};
    if (::statx(file.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &stat) != 0)
        return fail(errno, "cannot stat a file");
    return stat.stx_mnt_id;
}

bool is_same_inode(const struct stat &a, const struct stat &b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

std::optional<std::string> difference(const model::Inode &saved, const model::Inode &now, Place place) {
    const model::FileIdentity &a = saved.identity;
    const model::FileIdentity &b = now.identity;
    if ((saved.mode & S_IFMT) != (now.mode & S_IFMT))
        return fmt::format("it was a {} and is a {}", type_name(saved.mode), type_name(now.mode));
    if (S_ISCHR(saved.mode) || S_ISBLK(saved.mode)) {
        if (saved.rdev != now.rdev)
            return "it is another device";
        return std::nullopt;
    }
    // A home from another machine may be a copy on another file system.
    if (a.fs_type != b.fs_type && place != Place::copied)
        return fmt::format("it was on {} and is on {}", policy::file_system_name(a.fs_type),
                           policy::file_system_name(b.fs_type));
    if (policy::is_pseudo(a.fs_type))
        return std::nullopt;
    if (policy::is_volatile(a.fs_type) && S_ISDIR(saved.mode)) {
        if (saved.uid != now.uid || saved.gid != now.gid)
            return fmt::format("its owner was {}:{} and is {}:{}", saved.uid, saved.gid, now.uid, now.gid);
        return std::nullopt;
    }

    if (place != Place::copied && (a.number != b.number || differ_when_known(a.generation, b.generation)))
        return "another file has its name";
    if (place == Place::same) {
        if (differ_when_known(a.subvolume, b.subvolume))
            return "it lies in another subvolume";
        if (has_lasting_fsid(a.fs_type) && differ_when_known(a.fsid, b.fsid))
            return "it lies in another file system";
    }
    if (!S_ISREG(saved.mode))
        return std::nullopt;
    if (saved.size != now.size)
        return fmt::format("it has changed: its size was {} and is {}", saved.size, now.size);
    if (saved.mtime != now.mtime)
        return "it has been written to since";
    // Memory file systems count inode numbers from the start again after a reboot: a number alone says too little.
    if (place != Place::copied && policy::is_volatile(a.fs_type) && saved.ctime != now.ctime)
        return "another file has its name, or it has been changed since";
    return std::nullopt;
}

} // namespace abey::files
