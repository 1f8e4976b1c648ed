// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/file_system.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <linux/magic.h>

namespace abey::policy {

namespace {

// not in linux/magic.h
constexpr uint64_t bcachefs_magic = 0xca451a4e;
constexpr uint64_t zfs_magic = 0x2fc12fc1;
constexpr uint64_t mqueue_magic = 0x19800202;
constexpr uint64_t configfs_magic = 0x62656570;

constexpr std::array names = {
    FileSystemName{"btrfs", BTRFS_SUPER_MAGIC},
    FileSystemName{"ext4", EXT4_SUPER_MAGIC},
    FileSystemName{"ext3", EXT4_SUPER_MAGIC},
    FileSystemName{"ext2", EXT4_SUPER_MAGIC},
    FileSystemName{"xfs", XFS_SUPER_MAGIC},
    FileSystemName{"tmpfs", TMPFS_MAGIC},
    FileSystemName{"ramfs", RAMFS_MAGIC},
    FileSystemName{"hugetlbfs", HUGETLBFS_MAGIC},
    FileSystemName{"overlay", OVERLAYFS_SUPER_MAGIC},
    FileSystemName{"nfs", NFS_SUPER_MAGIC},
    FileSystemName{"fuse", FUSE_SUPER_MAGIC},
    FileSystemName{"f2fs", F2FS_SUPER_MAGIC},
    FileSystemName{"nilfs2", NILFS_SUPER_MAGIC},
    FileSystemName{"bcachefs", bcachefs_magic},
    FileSystemName{"zfs", zfs_magic},
    FileSystemName{"vfat", MSDOS_SUPER_MAGIC},
    FileSystemName{"exfat", EXFAT_SUPER_MAGIC},
    FileSystemName{"squashfs", SQUASHFS_MAGIC},
    FileSystemName{"erofs", EROFS_SUPER_MAGIC_V1},
    FileSystemName{"iso9660", ISOFS_SUPER_MAGIC},
    FileSystemName{"cifs", CIFS_SUPER_MAGIC},
    FileSystemName{"smb2", SMB2_SUPER_MAGIC},
    FileSystemName{"9p", V9FS_MAGIC},
    FileSystemName{"ceph", CEPH_SUPER_MAGIC},
    FileSystemName{"reiserfs", REISERFS_SUPER_MAGIC},
    FileSystemName{"proc", PROC_SUPER_MAGIC},
    FileSystemName{"sysfs", SYSFS_MAGIC},
    FileSystemName{"cgroup2", CGROUP2_SUPER_MAGIC},
    FileSystemName{"devpts", DEVPTS_SUPER_MAGIC},
};

constexpr std::array<uint64_t, 3> in_memory = {TMPFS_MAGIC, RAMFS_MAGIC, HUGETLBFS_MAGIC};

constexpr std::array<uint64_t, 17> kernels_own = {
    PROC_SUPER_MAGIC, SYSFS_MAGIC,      CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
    TRACEFS_MAGIC,    SECURITYFS_MAGIC, SELINUX_MAGIC,      PSTOREFS_MAGIC,      EFIVARFS_MAGIC,     BINFMTFS_MAGIC,
    BPF_FS_MAGIC,     NSFS_MAGIC,       AUTOFS_SUPER_MAGIC, mqueue_magic,        configfs_magic,
};

constexpr std::array<uint64_t, 6> cloning = {BTRFS_SUPER_MAGIC, XFS_SUPER_MAGIC,   OVERLAYFS_SUPER_MAGIC,
                                             bcachefs_magic,    OCFS2_SUPER_MAGIC, NFS_SUPER_MAGIC};

} // namespace

std::span<const FileSystemName> file_system_names() { return names; }

std::optional<uint64_t> file_system_magic(std::string_view name) {
    const auto *found = std::ranges::find(names, name, &FileSystemName::name);
    if (found == names.end())
        return std::nullopt;
    return found->magic;
}

std::string file_system_name(uint64_t magic) {
    const auto *found = std::ranges::find(names, magic, &FileSystemName::magic);
    return found == names.end() ? fmt::format("{:#x}", magic) : std::string(found->name);
}

bool is_volatile(uint64_t magic) { return std::ranges::find(in_memory, magic) != in_memory.end(); }
bool is_pseudo(uint64_t magic) { return std::ranges::find(kernels_own, magic) != kernels_own.end(); }
bool may_reflink(uint64_t magic) { return std::ranges::find(cloning, magic) != cloning.end(); }

} // namespace abey::policy
