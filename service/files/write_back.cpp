// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/write_back.h"

#include "files/identity.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include <dirent.h>
#include <linux/magic.h>
#include <sys/vfs.h>

namespace abey::files {

namespace {

constexpr std::string_view nameless = " (deleted)";
#ifndef XFS_SUPER_MAGIC
constexpr decltype(statfs::f_type) XFS_SUPER_MAGIC = 0x58465342;
#endif

// `link`: in a directory of /proc/PID that is held open, since a look-up of the whole path takes longer than all else.
void write_back_file(int directory, const char *link) {
    struct stat stat = {};
    if (::fstatat(directory, link, &stat, 0) < 0 || !S_ISREG(stat.st_mode) || stat.st_nlink != 0)
        return;
    // what it is must be known before it is opened: a device would notice
    const auto found = open_at(directory, link, O_PATH);
    if (!found)
        return;
    const auto now = stat_of(*found);
    struct statfs fs = {};
    if (!now || !S_ISREG(now->st_mode) || now->st_nlink != 0 || ::fstatfs(found->get(), &fs) < 0 ||
        (fs.f_type != BTRFS_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC))
        return;
    if (const auto file = reopen(*found, O_RDONLY))
        ::sync_file_range(file->get(), 0, 0,
                          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

} // namespace

void write_back(int pid, std::string_view maps) {
    const std::string process = "/proc/" + std::to_string(pid);
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::opendir((process + "/fd").c_str()), ::closedir);
    while (const dirent *entry = stream ? ::readdir(stream.get()) : nullptr)
        write_back_file(::dirfd(stream.get()), entry->d_name);
    while (!maps.empty()) {
        const std::string_view line = maps.substr(0, maps.find('\n'));
        maps.remove_prefix(std::min(line.size() + 1, maps.size()));
        const size_t range = line.find(' ');
        if (line.ends_with(nameless) && line.substr(range).substr(0, 5).ends_with('s'))
            write_back_file(AT_FDCWD, (process + "/map_files/" + std::string(line.substr(0, range))).c_str());
    }
}

} // namespace abey::files
