// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The text of /proc/PID/fdinfo/N (proc(5)): pure parsers.
#pragma once

#include "engine/model/open_file.h"
#include "engine/os/result.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace abey::capture {

// What follows "name:" in the first such line, without blanks around it.
std::optional<std::string_view> info_field(std::string_view info, std::string_view name);

// All "lock:" lines. A POSIX lock's pid is left 0: the kernel shows those of the table which fdinfo was read through.
Result<std::vector<model::FileLock>> parse_locks(std::string_view info);

// One "tfd:" line of an epoll file.
struct PollLine {
    int32_t number = 0;
    uint32_t events = 0;
    uint64_t data = 0;
    uint64_t inode = 0;
    uint32_t occurrence = 0; // how many lines with the same number came before
};
Result<std::vector<PollLine>> parse_poll_lines(std::string_view info);

// One "inotify" line.
struct WatchLine {
    int32_t number = 0;
    uint32_t mask = 0;
    uint64_t inode = 0;
    uint64_t device = 0;  // of the superblock, as the kernel counts: major << 20 | minor
    int handle_type = 0;  // with handle
    std::string handle;   // open_by_handle_at(2); empty where the file system has none
    std::string identity; // all of the line that is about the file
};
Result<std::vector<WatchLine>> parse_watch_lines(std::string_view info);

// The "fanotify" lines (proc_pid_fdinfo(5), fs/notify/fdinfo.c).
struct MarkLine {
    uint32_t kind = 0; // FAN_MARK_INODE, FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM
    uint32_t flags = 0, ignored = 0;
    uint64_t mount = 0; // of a mount: its number in mountinfo
    WatchLine file;     // mask; of an inode what a WatchLine tells; of a file system its device
};
struct MarksInfo {
    uint32_t flags = 0, event_flags = 0;
    std::vector<MarkLine> marks;
};
Result<MarksInfo> parse_marks(std::string_view info);

Result<model::TimerFile> parse_timer(std::string_view info);

} // namespace abey::capture
