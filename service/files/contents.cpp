// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/contents.h"

#include "engine/os/parallel.h"
#include "engine/os/room.h"
#include "engine/times.h"
#include "files/identity.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

namespace abey::files {

namespace {

constexpr size_t xattr_limit = 64U << 10U;
constexpr size_t xattrs_limit = 1U << 20U;

struct Stretch {
    uint64_t data = 0, hole = 0; // where it begins, and where its end is
};

// The first data from `at` on; both are `end` when there is none before that. A file system that knows no holes is all
// data (lseek(2)).
Stretch next_data(const Fd &file, uint64_t at, uint64_t end) {
    const off64_t data = ::lseek(file.get(), static_cast<off64_t>(at), SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return {.data = at, .hole = end};
    if (data < 0 || static_cast<uint64_t>(data) >= end)
        return {.data = end, .hole = end};
    const off64_t hole = ::lseek(file.get(), data, SEEK_HOLE);
    return {.data = static_cast<uint64_t>(data), .hole = hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole))};
}

// Block by block with several threads: reading and writing take about the same time.
Result<> copy_blocks(const Fd &from, const Fd &to, uint64_t start, uint64_t end) {
    const size_t count = (end - start + image::block_size - 1) / image::block_size;
    return os::in_parallel(count, image::block_size, [&](size_t block, std::span<std::byte> buffer) -> Result<> {
        const uint64_t at = start + block * image::block_size;
        const auto part = buffer.first(std::min<uint64_t>(buffer.size(), end - at));
        TRY_IN(read_at(from, part, at), "cannot read the contents");
        TRY_IN(write_at(to, part, at), "cannot write the contents");
        return {};
    });
}

// One stretch of data. copy_file_range(2) stays in the kernel, but not every pair of file systems has it.
Result<> copy_stretch(const Fd &from, const Fd &to, uint64_t start, uint64_t end) {
    auto in = static_cast<off64_t>(start);
    auto out = in;
    while (static_cast<uint64_t>(in) < end) {
        size_t wanted = std::min<uint64_t>(end - static_cast<uint64_t>(in), 1U << 30U);
        ssize_t n = ::copy_file_range(from.get(), &in, to.get(), &out, wanted, 0);
        if (n > 0)
            continue;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS && errno != EBADF)
            return fail(errno, "cannot copy the contents");
        break; // 0 is what it says of files that it cannot see through, too: reading will tell
    }
    return copy_blocks(from, to, static_cast<uint64_t>(in), end);
}

constexpr uint32_t first_flags = FS_NOCOW_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL;
constexpr uint32_t last_flags = FS_APPEND_FL | FS_IMMUTABLE_FL;

// ioctl_iflags(2): the kernel takes and gives an int, whatever the number's size says.
bool change_flags(const Fd &file, uint32_t add, uint32_t remove) {
    unsigned int flags[2] = {};
    if (::ioctl(file.get(), FS_IOC_GETFLAGS, flags) != 0)
        return false;
    const unsigned int wanted = (flags[0] & ~remove) | add;
    if (wanted == flags[0])
        return true;
    flags[0] = wanted;
    return ::ioctl(file.get(), FS_IOC_SETFLAGS, flags) == 0;
}

// Attributes that belong to the layer below, or to keys that we do not have.
bool is_left_out(std::string_view name) {
    return name.starts_with("trusted.overlay.") || name == "security.ima" || name == "security.evm" ||
           name == "system.nfs4_acl" || name == "system.ntfs_acl";
}

// Those of a file that are ours to keep.
Result<std::vector<std::string>> list_xattrs(const std::string &link) {
    std::vector<std::string> found;
    std::string names(xattr_limit, '\0');
    const ssize_t length = ::listxattr(link.c_str(), names.data(), names.size());
    if (length < 0) {
        if (errno == ENOTSUP)
            return found;
        return fail(errno, "cannot list the extended attributes");
    }
    names.resize(static_cast<size_t>(length));
    for (size_t at = 0; at < names.size();) {
        std::string name = names.c_str() + at;
        at += name.size() + 1;
        if (!is_left_out(name))
            found.push_back(std::move(name));
    }
    return found;
}

// What a new file has from its directory (a default ACL, acl(5); btrfs properties) and the saved one had not. Labels
// are the machine's own.
Result<> drop_inherited(const std::string &link, const model::Inode &inode) {
    for (const auto &name : TRY(list_xattrs(link))) {
        if (name.starts_with("security.") ||
            std::ranges::any_of(inode.xattrs, [&](const auto &saved) { return saved.first == name; }))
            continue;
        if (::removexattr(link.c_str(), name.c_str()) != 0 && errno != ENODATA && name.starts_with("system."))
            return fail(errno, "cannot take away {}, which it has from its directory", printable(name));
    }
    return {};
}

} // namespace

Result<> clone_contents(const Fd &from, const Fd &to) {
    if ((read_flags(from) & FS_NOCOW_FL) != 0)
        (void)change_flags(to, FS_NOCOW_FL, 0); // when it fails the next call says so
    if (::ioctl(to.get(), FICLONE, from.get()) != 0)
        return fail(errno, "the file system cannot share the data");
    return {};
}

Result<> copy_contents(const Fd &from, const Fd &to, uint64_t size) {
    struct stat stat = TRY(stat_of(from));
    if (static_cast<uint64_t>(stat.st_size) < size)
        return fail(EIO, "it became shorter while it was copied");
    for (uint64_t at = 0; at < size;) {
        const auto [data, hole] = next_data(from, at, size);
        if (data < hole)
            TRY(copy_stretch(from, to, data, hole));
        at = hole;
    }
    if (::ftruncate(to.get(), static_cast<off_t>(size)) != 0)
        return fail(errno, "cannot set the size {}", size);
    return {};
}

bool copies_itself(const Fd &from, const Fd &to) {
    off64_t in = 0;
    off64_t out = 0;
    return ::copy_file_range(from.get(), &in, to.get(), &out, 0, 0) == 0 || errno != EXDEV;
}

Result<std::vector<image::Digest>> copy_and_digest(const Fd &from, const Fd &to, uint64_t size) {
    if (static_cast<uint64_t>(TRY(stat_of(from)).st_size) < size)
        return fail(EIO, "it became shorter while it was copied");
    std::vector<image::Digest> digests((size + image::block_size - 1) / image::block_size);
    const auto copy_block = [&](size_t block, std::span<std::byte> buffer) -> Result<> {
        const uint64_t start = block * image::block_size;
        const auto part = buffer.first(std::min<uint64_t>(image::block_size, size - start));
        const uint64_t end = start + part.size();
        if (part.size() == image::block_size && next_data(from, start, end).data == end) {
            digests[block] = image::digest_of_hole();
            return {};
        }
        for (uint64_t at = start; at < end;) {
            const auto [data, hole] = next_data(from, at, end);
            std::ranges::fill(part.subspan(at - start, data - at), std::byte{});
            const auto stretch = part.subspan(data - start, hole - data);
            TRY_IN(read_at(from, stretch, data), "cannot read the contents");
            TRY_IN(write_at(to, stretch, data), "cannot write the contents");
            at = hole;
        }
        digests[block] = image::digest(part);
        return {};
    };
    TRY(os::in_parallel(digests.size(), std::min<uint64_t>(image::block_size, size), copy_block));
    if (::ftruncate(to.get(), static_cast<off_t>(size)) != 0)
        return fail(errno, "cannot set the size {}", size);
    return digests;
}

Result<> fill_contents(const Fd &from, const Fd &to, uint64_t size) {
    if (clone_contents(from, to)) {
        if (static_cast<uint64_t>(TRY(stat_of(to)).st_size) == size)
            return {};
        if (::ftruncate(to.get(), 0) != 0)
            return fail(errno, "cannot empty a new file");
    }
    return copy_contents(from, to, size);
}

Result<uint64_t> data_size(const Fd &file) {
    struct stat stat = TRY(stat_of(file));
    return std::min(static_cast<uint64_t>(stat.st_size), static_cast<uint64_t>(stat.st_blocks) * 512);
}

Result<> check_space(const Fd &directory, uint64_t bytes) { return os::check_room(TRY(os::room_in(directory)), bytes); }

Result<std::vector<std::pair<model::Bytes, model::Bytes>>> read_xattrs(const Fd &file) {
    std::vector<std::pair<model::Bytes, model::Bytes>> found;
    const std::string link = magic_link(file);
    size_t total = 0;
    std::string value;
    for (auto &name : TRY(list_xattrs(link))) {
        value.resize(xattr_limit);
        ssize_t size = ::getxattr(link.c_str(), name.c_str(), value.data(), value.size());
        if (size < 0 && (errno == ENODATA || errno == ENOTSUP))
            continue; // gone in between, or listed without having one
        if (size < 0)
            return fail(errno, "cannot read the extended attribute {}", printable(name));
        total += static_cast<size_t>(size);
        if (total > xattrs_limit)
            return fail(E2BIG, "more than {} bytes of extended attributes", xattrs_limit);
        found.emplace_back(std::move(name), value.substr(0, static_cast<size_t>(size)));
    }
    return found;
}

uint32_t read_flags(const Fd &file) {
    unsigned int flags[2] = {};
    return ::ioctl(file.get(), FS_IOC_GETFLAGS, flags) == 0 ? flags[0] & (first_flags | last_flags) : 0;
}

void apply_first_flags(const Fd &file, uint32_t flags) noexcept {
    // One by one: each file system has some of them.
    for (uint32_t flag = 1; flag != 0 && flag <= first_flags; flag <<= 1U)
        if ((flags & first_flags & flag) != 0)
            (void)change_flags(file, flag, 0);
}

bool apply_last_flags(const Fd &file, uint32_t flags, bool set) noexcept {
    const uint32_t wanted = flags & last_flags;
    return wanted == 0 || change_flags(file, set ? wanted : 0, set ? 0 : wanted);
}

Result<> apply_attributes(const Fd &file, const model::Inode &inode) {
    std::string link = magic_link(file);
    // chown(2) clears set-user-id and file capabilities, an ACL sets mode bits: hence the order
    if (::chown(link.c_str(), inode.uid, inode.gid) != 0)
        return fail(errno, "cannot give it to {}:{}", inode.uid, inode.gid);
    TRY(drop_inherited(link, inode));
    for (const auto &[name, value] : inode.xattrs) {
        if (::setxattr(link.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
            // labels: the present policy of the machine gives the right one to a new file by itself
            if (name == "security.selinux")
                continue;
            return fail(errno, "cannot set the extended attribute {}", printable(name));
        }
    }
    // a symbolic link has none of its own
    if (!S_ISLNK(inode.mode) && ::chmod(link.c_str(), inode.mode & 07777) != 0)
        return fail(errno, "cannot set the mode {:o}", inode.mode & 07777);
    const timespec times[2] = {engine::to_timespec(inode.atime), engine::to_timespec(inode.mtime)};
    if (::utimensat(AT_FDCWD, link.c_str(), times, 0) != 0)
        return fail(errno, "cannot set the times");
    return {};
}

} // namespace abey::files
