// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/fdinfo.h"

#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <string>

#include <sys/fanotify.h>

namespace abey::capture {
namespace {

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Calls `line` with every line of the text.
template <class F> Result<> for_each_line(std::string_view text, F line) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        TRY(line(text.substr(0, end)));
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
    return {};
}

std::vector<std::string_view> words(std::string_view text) {
    std::vector<std::string_view> result;
    for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
        const auto end = std::min(text.find_first_of(" \t"), text.size());
        result.push_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    return result;
}

bool to_number(std::string_view text, uint64_t &value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

// "1: POSIX  ADVISORY  WRITE 814 08:01:4711 100 EOF"
Result<model::FileLock> parse_lock(std::string_view text) {
    const auto parts = words(text);
    if (parts.size() != 8)
        return fail(0, "fdinfo: not a lock: \"{}\"", text);
    model::FileLock lock;
    if (parts[1] == "FLOCK")
        lock.kind = model::FileLock::Kind::flock;
    else if (parts[1] == "POSIX")
        lock.kind = model::FileLock::Kind::posix;
    else if (parts[1] == "OFDLCK")
        lock.kind = model::FileLock::Kind::ofd;
    else if (parts[1] == "LEASE")
        lock.kind = model::FileLock::Kind::lease;
    else
        return fail(0, "a lock of the kind {} cannot be brought back", parts[1]);
    lock.breaking = parts[2] == "BREAKING"; // then the mode is what it will be
    if (parts[3] != "READ" && parts[3] != "WRITE" && !(lock.breaking && parts[3] == "UNLCK"))
        return fail(0, "a lock of the mode {} cannot be brought back", parts[3]);
    lock.write = parts[3] == (lock.breaking ? "READ" : "WRITE");
    // Who took it, for locks that do not belong to a process by what it holds; -1 where the kernel does not know.
    (void)std::from_chars(parts[4].data(), parts[4].data() + parts[4].size(), lock.pid);
    if (!to_number(parts[6], lock.start) || (parts[7] != "EOF" && !to_number(parts[7], lock.end)))
        return fail(0, "fdinfo: not a range: \"{}\"", text);
    return lock;
}

} // namespace

std::optional<std::string_view> info_field(std::string_view info, std::string_view name) {
    for (size_t at = 0; at < info.size();) {
        const auto end = std::min(info.find('\n', at), info.size());
        const auto line = info.substr(at, end - at);
        if (line.starts_with(name) && line.size() > name.size() && line[name.size()] == ':')
            return trimmed(line.substr(name.size() + 1));
        at = end + 1;
    }
    return std::nullopt;
}

Result<std::vector<model::FileLock>> parse_locks(std::string_view info) {
    std::vector<model::FileLock> locks;
    TRY(for_each_line(info, [&](std::string_view line) -> Result<> {
        if (!line.starts_with("lock:"))
            return {};
        auto lock = parse_lock(line.substr(5));
        if (!lock)
            return std::unexpected(std::move(lock).error());
        locks.push_back(*lock);
        return {};
    }));
    return locks;
}

Result<std::vector<PollLine>> parse_poll_lines(std::string_view info) {
    std::vector<PollLine> lines;
    std::map<int32_t, uint32_t> seen;
    TRY(for_each_line(info, [&](std::string_view line) -> Result<> {
        if (!line.starts_with("tfd:"))
            return {};
        PollLine target;
        const std::string text(line); // sscanf needs its final NUL
        if (std::sscanf(text.c_str(), "tfd: %" SCNd32 " events: %" SCNx32 " data: %" SCNx64 " pos:%*d ino:%" SCNx64,
                        &target.number, &target.events, &target.data, &target.inode) != 4)
            return fail(0, "fdinfo: not an epoll target: \"{}\"", line);
        target.occurrence = seen[target.number]++;
        lines.push_back(target);
        return {};
    }));
    return lines;
}

namespace {

// What fs/notify/fdinfo.c says of the file in lines of both kinds: " ino:1 sdev:2", up to `mask`, and a handle at the
// end.
Result<> parse_watched_file(const std::string &text, std::string_view mask, WatchLine &watch) {
    const auto file = text.find(" ino:"), end = text.find(mask), handle = text.find(" fhandle-bytes:");
    watch.identity = text.substr(file, end - file);
    if (handle == std::string::npos)
        return {};
    watch.identity += text.substr(handle);
    int from = 0;
    if (std::sscanf(text.c_str() + handle, " fhandle-bytes:%*x fhandle-type:%x f_handle:%n",
                    reinterpret_cast<unsigned *>(&watch.handle_type), &from) != 1 ||
        from == 0)
        return fail(0, "fdinfo: not a file handle: \"{}\"", text);
    for (size_t i = handle + static_cast<size_t>(from); i + 1 < text.size(); i += 2) {
        uint8_t byte = 0;
        if (std::from_chars(text.data() + i, text.data() + i + 2, byte, 16).ec != std::errc())
            return fail(0, "fdinfo: not a file handle: \"{}\"", text);
        watch.handle += static_cast<char>(byte);
    }
    return {};
}

} // namespace

Result<std::vector<WatchLine>> parse_watch_lines(std::string_view info) {
    std::vector<WatchLine> lines;
    TRY(for_each_line(info, [&](std::string_view line) -> Result<> {
        if (!line.starts_with("inotify wd:"))
            return {};
        WatchLine watch;
        const std::string text(line); // sscanf needs its final NUL
        // all numbers are hexadecimal, that of the watch, too (fs/notify/fdinfo.c)
        if (std::sscanf(text.c_str(), "inotify wd:%" SCNx32 " ino:%" SCNx64 " sdev:%" SCNx64 " mask:%" SCNx32,
                        reinterpret_cast<uint32_t *>(&watch.number), &watch.inode, &watch.device, &watch.mask) != 4)
            return fail(0, "fdinfo: not a watch: \"{}\"", line);
        if (auto file = parse_watched_file(text, " mask:", watch); !file)
            return file;
        lines.push_back(std::move(watch));
        return {};
    }));
    return lines;
}

Result<MarksInfo> parse_marks(std::string_view info) {
    MarksInfo marks;
    TRY(for_each_line(info, [&](std::string_view line) -> Result<> {
        if (!line.starts_with("fanotify "))
            return {};
        const std::string text(line);
        MarkLine mark;
        WatchLine &file = mark.file;
        if (std::sscanf(text.c_str(), "fanotify flags:%" SCNx32 " event-flags:%" SCNx32, &marks.flags,
                        &marks.event_flags) == 2)
            return {};
        if (std::sscanf(text.c_str(),
                        "fanotify ino:%" SCNx64 " sdev:%" SCNx64 " mflags:%" SCNx32 " mask:%" SCNx32
                        " ignored_mask:%" SCNx32,
                        &file.inode, &file.device, &mark.flags, &file.mask, &mark.ignored) == 5) {
            mark.kind = FAN_MARK_INODE;
            if (auto parsed = parse_watched_file(text, " mflags:", file); !parsed)
                return parsed;
        } else if (std::sscanf(text.c_str(),
                               "fanotify mnt_id:%" SCNx64 " mflags:%" SCNx32 " mask:%" SCNx32 " ignored_mask:%" SCNx32,
                               &mark.mount, &mark.flags, &file.mask, &mark.ignored) == 4) {
            mark.kind = FAN_MARK_MOUNT;
        } else if (std::sscanf(text.c_str(),
                               "fanotify sdev:%" SCNx64 " mflags:%" SCNx32 " mask:%" SCNx32 " ignored_mask:%" SCNx32,
                               &file.device, &mark.flags, &file.mask, &mark.ignored) == 4) {
            mark.kind = FAN_MARK_FILESYSTEM;
        } else {
            return fail(0, "fdinfo: not a mark that is known: \"{}\"", line);
        }
        marks.marks.push_back(std::move(mark));
        return {};
    }));
    return marks;
}

Result<model::TimerFile> parse_timer(std::string_view info) {
    model::TimerFile timer;
    const auto text = [&](std::string_view name) { return std::string(info_field(info, name).value_or("")); };
    if (std::sscanf(text("clockid").c_str(), "%" SCNd32, &timer.clock) != 1 ||
        std::sscanf(text("ticks").c_str(), "%" SCNu64, &timer.ticks) != 1 ||
        std::sscanf(text("settime flags").c_str(), "%" SCNo32, &timer.settime_flags) != 1 ||
        std::sscanf(text("it_value").c_str(), "(%" SCNd64 ", %" SCNu32 ")", &timer.value.seconds,
                    &timer.value.nanoseconds) != 2 ||
        std::sscanf(text("it_interval").c_str(), "(%" SCNd64 ", %" SCNu32 ")", &timer.interval.seconds,
                    &timer.interval.nanoseconds) != 2)
        return fail(0, "fdinfo: not a timer: \"{}\"", info);
    return timer;
}

} // namespace abey::capture
