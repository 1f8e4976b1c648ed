// SPDX-License-Identifier: LGPL-2.1-or-later
//
// File systems by the numbers that statfs(2) gives in f_type.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace abey::policy {

struct FileSystemName {
    std::string_view name;
    uint64_t magic;
};

// Those that rules can name; the first name of a number is the one that messages use. ext2, ext3 and ext4 share theirs.
std::span<const FileSystemName> file_system_names();
std::optional<uint64_t> file_system_magic(std::string_view name);
// "btrfs", or "0x1234" for one without name.
std::string file_system_name(uint64_t magic);

// Contents are in memory and gone with the mount: tmpfs, ramfs, hugetlbfs.
bool is_volatile(uint64_t magic);
// The kernel shows itself there (proc, sysfs, cgroup2, devpts, ...): a name is all the identity that there is.
bool is_pseudo(uint64_t magic);
// FICLONE may work there; whether it does for a given file, only trying tells.
bool may_reflink(uint64_t magic);

} // namespace abey::policy
