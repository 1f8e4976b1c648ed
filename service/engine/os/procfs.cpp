// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/procfs.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include <dirent.h>

namespace abey::os {

namespace {

// smaps of a process with tens of thousands of mappings takes this much
constexpr size_t proc_limit = 256U << 20U;

template <class T> bool take_number(std::string_view text, T &value, int base = 10) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    return error == std::errc() && end == text.data() + text.size();
}

std::string_view next_word(std::string_view &text, char separator = ' ') {
    while (!text.empty() && (text.front() == separator || text.front() == '\t' || text.front() == ' '))
        text.remove_prefix(1);
    const size_t end = text.find_first_of(separator == ' ' ? std::string_view(" \t") : std::string_view(&separator, 1));
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end));
    return word;
}

std::string_view next_line(std::string_view &text) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end == std::string_view::npos ? end : end + 1));
    return line;
}

// proc(5) writes a newline in a path as \012; nothing else is escaped
std::string unescaped(std::string_view path) {
    std::string plain;
    constexpr std::string_view newline = "\\012";
    while (!path.empty()) {
        if (path.starts_with(newline)) {
            plain += '\n';
            path.remove_prefix(newline.size());
        } else {
            plain += path.front();
            path.remove_prefix(1);
        }
    }
    return plain;
}

Result<std::vector<int>> numbers_in(const std::string &directory) {
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::opendir(directory.c_str()), ::closedir);
    if (!stream)
        return fail(errno, "cannot list {}", directory);
    std::vector<int> numbers;
    while (const dirent *entry = ::readdir(stream.get())) {
        int number = 0;
        if (take_number(std::string_view(entry->d_name), number))
            numbers.push_back(number);
    }
    std::sort(numbers.begin(), numbers.end());
    return numbers;
}

} // namespace

Result<std::string> read_proc(int pid, std::string_view name) {
    return read_file(fmt::format("/proc/{}/{}", pid, name), proc_limit);
}

Result<ProcStat> parse_stat(std::string_view text) {
    ProcStat stat;
    const size_t open = text.find('(');
    const size_t close = text.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open || open < 2 ||
        !take_number(text.substr(0, open - 1), stat.pid))
        return fail(0, "cannot understand /proc/PID/stat: {}", text);
    stat.comm = text.substr(open + 1, close - open - 1);
    std::string_view rest = text.substr(close + 1);
    while (!rest.empty() && rest.back() == '\n')
        rest.remove_suffix(1);
    // fields as proc(5) numbers them, from 3 on
    constexpr int first_field = 3;
    std::array<int64_t, 56> field{};
    stat.state = next_word(rest).empty() ? '?' : text[close + 2];
    int count = first_field + 1;
    for (; !rest.empty() && count < static_cast<int>(field.size()); ++count) {
        const std::string_view word = next_word(rest);
        auto &value = field.at(static_cast<size_t>(count));
        if (uint64_t big = 0; !take_number(word, value) && take_number(word, big))
            value = static_cast<int64_t>(big);
    }
    if (count <= 52)
        return fail(0, "/proc/{}/stat has only {} fields", stat.pid, count);
    const auto at = [&](size_t i) { return field.at(i); };
    stat.parent = static_cast<int>(at(4));
    stat.process_group = static_cast<int>(at(5));
    stat.session = static_cast<int>(at(6));
    stat.terminal = static_cast<int>(at(7));
    stat.foreground = static_cast<int>(at(8));
    stat.flags = static_cast<uint64_t>(at(9));
    stat.threads = static_cast<int>(at(20));
    stat.start_time = static_cast<uint64_t>(at(22));
    stat.start_code = static_cast<uint64_t>(at(26));
    stat.end_code = static_cast<uint64_t>(at(27));
    stat.start_stack = static_cast<uint64_t>(at(28));
    stat.exit_signal = static_cast<int>(at(38));
    stat.start_data = static_cast<uint64_t>(at(45));
    stat.end_data = static_cast<uint64_t>(at(46));
    stat.start_brk = static_cast<uint64_t>(at(47));
    stat.arg_start = static_cast<uint64_t>(at(48));
    stat.arg_end = static_cast<uint64_t>(at(49));
    stat.env_start = static_cast<uint64_t>(at(50));
    stat.env_end = static_cast<uint64_t>(at(51));
    stat.exit_code = static_cast<int>(at(52));
    stat.door = stat.pid;
    return stat;
}

Result<ProcStat> read_stat(int pid) {
    const std::string text = TRY(read_proc(pid, "stat"));
    ProcStat stat = TRY(parse_stat(text));
    if (stat.threads < 2 || !stat.ended())
        return stat;
    for (const int tid : TRY(threads_of(pid)))
        if (const auto other = read_stat(pid, tid); other && !other->ended()) {
            ProcStat shown = *other;
            shown.pid = pid;
            shown.state = stat.state;
            shown.comm = stat.comm;
            shown.exit_signal = stat.exit_signal;
            shown.exit_code = stat.exit_code;
            shown.start_time = stat.start_time;
            shown.flags = stat.flags;
            return shown;
        }
    return stat;
}
Result<ProcStat> read_stat(int pid, int tid) {
    return parse_stat(TRY(read_proc(pid, fmt::format("task/{}/stat", tid))));
}

Result<ProcStatus> parse_status(std::string_view text) {
    ProcStatus status;
    const auto hex = [](std::string_view value, uint64_t &into) { (void)take_number(next_word(value), into, 16); };
    const auto four = [](std::string_view value, std::array<uint32_t, 4> &into) {
        for (uint32_t &id : into)
            (void)take_number(next_word(value), id);
    };
    bool has_uid = false;
    while (!text.empty()) {
        std::string_view value = next_line(text);
        const size_t colon = value.find(':');
        if (colon == std::string_view::npos)
            continue;
        const std::string_view key = value.substr(0, colon);
        value.remove_prefix(colon + 1);
        if (key == "Umask") {
            (void)take_number(next_word(value), status.umask, 8);
        } else if (key == "TracerPid") {
            (void)take_number(next_word(value), status.tracer);
        } else if (key == "Uid") {
            four(value, status.uids);
            has_uid = true;
        } else if (key == "Gid") {
            four(value, status.gids);
        } else if (key == "Groups") {
            for (std::string_view word = next_word(value); !word.empty(); word = next_word(value)) {
                uint32_t group = 0;
                if (take_number(word, group))
                    status.groups.push_back(group);
            }
        } else if (key == "NStgid" || key == "NSpid" || key == "NSpgid" || key == "NSsid") {
            int &id = key == "NStgid"   ? status.own_pid
                      : key == "NSpid"  ? status.own_tid
                      : key == "NSpgid" ? status.own_group
                                        : status.own_session;
            std::vector<int> &all = key == "NStgid"   ? status.all_pids
                                    : key == "NSpid"  ? status.all_tids
                                    : key == "NSpgid" ? status.all_groups
                                                      : status.all_sessions;
            for (std::string_view word = next_word(value); !word.empty(); word = next_word(value)) {
                (void)take_number(word, id);
                all.push_back(id);
            }
            status.namespaces_deep = all.size();
        } else if (key == "SigPnd") {
            hex(value, status.pending);
        } else if (key == "ShdPnd") {
            hex(value, status.shared_pending);
        } else if (key == "SigBlk") {
            hex(value, status.blocked);
        } else if (key == "SigIgn") {
            hex(value, status.ignored);
        } else if (key == "SigCgt") {
            hex(value, status.caught);
        } else if (key == "CapInh") {
            hex(value, status.cap_inheritable);
        } else if (key == "CapPrm") {
            hex(value, status.cap_permitted);
        } else if (key == "CapEff") {
            hex(value, status.cap_effective);
        } else if (key == "CapBnd") {
            hex(value, status.cap_bounding);
        } else if (key == "CapAmb") {
            hex(value, status.cap_ambient);
        } else if (key == "NoNewPrivs") {
            status.no_new_privs = next_word(value) == "1";
        } else if (key == "Seccomp") {
            (void)take_number(next_word(value), status.seccomp);
        } else if (key == "voluntary_ctxt_switches") {
            (void)take_number(next_word(value), status.waits);
        }
    }
    if (!has_uid)
        return fail(0, "/proc/PID/status has no Uid line");
    return status;
}

Result<ProcStatus> read_status(int pid) { return parse_status(TRY(read_proc(pid, "status"))); }
Result<ProcStatus> read_status(int pid, int tid) {
    return parse_status(TRY(read_proc(pid, fmt::format("task/{}/status", tid))));
}

bool ProcMapping::has_flag(std::string_view flag) const {
    return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

Result<std::vector<ProcMapping>> parse_smaps(std::string_view text) {
    std::vector<ProcMapping> mappings;
    while (!text.empty()) {
        std::string_view line = next_line(text);
        const std::string_view whole = line;
        // most lines are figures that nobody asks for
        if (!line.empty() && line.front() >= 'A' && line.front() <= 'Z' && !line.starts_with("VmFlags:") &&
            !line.starts_with("KernelPageSize:"))
            continue;
        if (line.starts_with("KernelPageSize:")) {
            line.remove_prefix(15);
            uint64_t kilobytes = 0;
            if (!mappings.empty() && take_number(next_word(line), kilobytes))
                mappings.back().page_size = kilobytes * 1024;
            continue;
        }
        if (line.starts_with("VmFlags:")) {
            line.remove_prefix(8);
            if (mappings.empty())
                return fail(0, "/proc/PID/smaps begins with VmFlags");
            for (std::string_view word = next_word(line); !word.empty(); word = next_word(line))
                mappings.back().flags.emplace_back(word);
            continue;
        }
        // "start-end perms offset dev inode   name"; the lines between begin with a capital letter and have a colon
        const std::string_view range = next_word(line);
        const size_t dash = range.find('-');
        ProcMapping mapping;
        if (dash == std::string_view::npos || !take_number(range.substr(0, dash), mapping.start, 16) ||
            !take_number(range.substr(dash + 1), mapping.end, 16))
            continue;
        const std::string_view permissions = next_word(line);
        const std::string_view offset = next_word(line);
        const std::string_view device = next_word(line);
        const std::string_view inode = next_word(line);
        const size_t colon = device.find(':');
        if (permissions.size() != 4 || !take_number(offset, mapping.offset, 16) || colon == std::string_view::npos ||
            !take_number(device.substr(0, colon), mapping.major, 16) ||
            !take_number(device.substr(colon + 1), mapping.minor, 16) || !take_number(inode, mapping.inode))
            return fail(0, "cannot understand this line of /proc/PID/smaps: {}", whole);
        mapping.read = permissions[0] == 'r';
        mapping.write = permissions[1] == 'w';
        mapping.execute = permissions[2] == 'x';
        mapping.shared = permissions[3] == 's';
        while (!line.empty() && line.front() == ' ')
            line.remove_prefix(1);
        mapping.name = unescaped(line);
        mappings.push_back(std::move(mapping));
    }
    return mappings;
}

Result<std::vector<ProcMapping>> read_smaps(int pid) { return parse_smaps(TRY(read_proc(pid, "smaps"))); }
Result<std::vector<ProcMapping>> read_maps(int pid) { return parse_smaps(TRY(read_proc(pid, "maps"))); }

Result<Autogroup> parse_autogroup(std::string_view text) {
    Autogroup group;
    std::string_view line = next_line(text);
    if (line.empty())
        return group;
    group.name = next_word(line);
    if (next_word(line) != "nice" || !take_number(next_word(line), group.nice))
        return fail(0, "cannot understand /proc/PID/autogroup: {} {}", group.name, line);
    return group;
}

Result<Autogroup> read_autogroup(int pid) {
    const auto text = read_file(fmt::format("/proc/{}/autogroup", pid), proc_limit);
    if (!text && text.error().code() == ENOENT) // a kernel without CONFIG_SCHED_AUTOGROUP
        return Autogroup();
    return parse_autogroup(TRY(text));
}

Result<std::array<std::pair<uint64_t, uint64_t>, 16>> parse_limits(std::string_view text) {
    // names as fs/proc/base.c prints them, in the order of RLIMIT_* (asm-generic/resource.h)
    constexpr std::array<std::string_view, 16> names = {
        "Max cpu time",       "Max file size",     "Max data size",         "Max stack size",
        "Max core file size", "Max resident set",  "Max processes",         "Max open files",
        "Max locked memory",  "Max address space", "Max file locks",        "Max pending signals",
        "Max msgqueue size",  "Max nice priority", "Max realtime priority", "Max realtime timeout"};
    constexpr size_t name_width = 25;
    std::array<std::pair<uint64_t, uint64_t>, 16> limits{};
    size_t found = 0;
    const auto value = [](std::string_view word) {
        uint64_t number = ~0ULL;
        (void)take_number(word, number); // "unlimited" stays ~0
        return number;
    };
    while (!text.empty()) {
        std::string_view line = next_line(text);
        for (size_t i = 0; i < names.size(); ++i) {
            if (!line.starts_with(names.at(i)) || line.size() <= name_width)
                continue;
            line.remove_prefix(name_width);
            limits.at(i).first = value(next_word(line));
            limits.at(i).second = value(next_word(line));
            ++found;
            break;
        }
    }
    if (found != names.size())
        return fail(0, "/proc/PID/limits has {} of {} limits", found, names.size());
    return limits;
}

Result<std::vector<ProcTimer>> parse_timers(std::string_view text) {
    std::vector<ProcTimer> timers;
    while (!text.empty()) {
        std::string_view value = next_line(text);
        const size_t colon = value.find(':');
        if (colon == std::string_view::npos)
            continue;
        const std::string_view key = value.substr(0, colon);
        value.remove_prefix(colon + 1);
        if (key == "ID") {
            timers.emplace_back();
            (void)take_number(next_word(value), timers.back().id);
        } else if (timers.empty()) {
            return fail(0, "/proc/PID/timers does not begin with ID");
        } else if (key == "signal") { // "signal: 14/00000000deadbeef"
            const std::string_view word = next_word(value);
            const size_t slash = word.find('/');
            (void)take_number(word.substr(0, slash), timers.back().signal);
            if (slash != std::string_view::npos)
                (void)take_number(word.substr(slash + 1), timers.back().sigval, 16);
        } else if (key == "notify") { // "notify: signal/pid.77" or "signal/tid.78", "none", "thread"
            const std::string_view word = next_word(value);
            const size_t slash = word.find('/');
            const std::string_view kind = word.substr(0, slash);
            timers.back().notify = kind == "none" ? 1 : kind == "thread" ? 2 : 0;
            if (slash != std::string_view::npos && word.substr(slash + 1).starts_with("tid.")) {
                timers.back().notify |= 4;
                (void)take_number(word.substr(slash + 5), timers.back().notify_tid);
            }
        } else if (key == "ClockID") {
            (void)take_number(next_word(value), timers.back().clock);
        }
    }
    return timers;
}

Result<std::vector<int>> threads_of(int pid) { return numbers_in(fmt::format("/proc/{}/task", pid)); }
Result<std::vector<int>> threads_of(const ProcStat &stat) {
    return stat.threads == 1 ? std::vector{stat.pid} : threads_of(stat.pid);
}

Result<std::vector<int>> children_of(int pid, const std::vector<int> &tids) {
    std::vector<int> children;
    for (const int tid : tids) {
        const auto text = read_file(fmt::format("/proc/{}/task/{}/children", pid, tid), proc_limit);
        if (!text && (text.error().code() == ENOENT || text.error().code() == ESRCH))
            continue; // the thread has just ended
        if (!text)
            return std::unexpected(text.error());
        std::string_view rest = *text;
        for (std::string_view word = next_word(rest); !word.empty(); word = next_word(rest)) {
            int child = 0;
            if (take_number(word, child))
                children.push_back(child);
        }
    }
    return children;
}

} // namespace abey::os
