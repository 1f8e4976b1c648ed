// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What proc(5) tells about processes. Parsers take text, so that they can be tested; readers take ids.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/result.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace abey::os {

// /proc/PID/stat, the fields that matter here
struct ProcStat {
    int pid = 0;
    std::string comm;
    char state = '?';
    int parent = 0, process_group = 0, session = 0;
    int terminal = 0; // tty_nr, 0: none
    int foreground = 0;
    uint64_t flags = 0;      // PF_* of linux/sched.h
    uint64_t start_time = 0; // clock ticks since boot: together with pid it names a process
    uint64_t start_code = 0, end_code = 0, start_stack = 0;
    uint64_t start_data = 0, end_data = 0, start_brk = 0;
    uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
    int exit_signal = 0;
    int exit_code = 0;
    int threads = 1; // of the process, the first one included as long as it is its name
    // The task through which /proc shows what the process has: of a first thread that has ended while others run only
    // the name is left, and this is one of the others. The pid otherwise.
    int door = 0;

    [[nodiscard]] bool kernel_thread() const { return (flags & 0x00200000U) != 0; } // PF_KTHREAD
    // The thread has. A process whose first thread has ended looks like that, too, while others run.
    [[nodiscard]] bool ended() const { return state == 'Z' || state == 'X'; }
    [[nodiscard]] bool leader_ended() const { return door != pid; }
    [[nodiscard]] bool zombie() const { return ended() && threads <= 1; }
};
Result<ProcStat> parse_stat(std::string_view text);
Result<ProcStat> read_stat(int pid);
Result<ProcStat> read_stat(int pid, int tid);

// /proc/PID/status
struct ProcStatus {
    std::array<uint32_t, 4> uids{}, gids{}; // real, effective, saved, file system
    std::vector<uint32_t> groups;
    uint32_t umask = 022;
    int tracer = 0;
    int own_tid = 0;                    // the last of NSpid: the id in the task's own pid namespace
    int own_pid = 0;                    // the last of NStgid
    int own_group = 0, own_session = 0; // the last of NSpgid and NSsid
    size_t namespaces_deep = 1;         // how many numbers NSpid has
    // Of a pid namespace below ours.
    [[nodiscard]] bool is_first_of_namespace() const { return namespaces_deep > 1 && own_pid == 1; }
    // How deep the pid namespace lies that it was put into, or made its own in; 1: it is ours.
    [[nodiscard]] size_t depth_of_owner() const {
        return std::max<size_t>(namespaces_deep, 1) - (is_first_of_namespace() ? 1 : 0);
    }
    // All numbers of the same lines: in our pid namespace, then inwards.
    std::vector<int> all_tids, all_pids, all_groups, all_sessions;
    uint64_t pending = 0, shared_pending = 0, blocked = 0, ignored = 0, caught = 0;
    uint64_t cap_inheritable = 0, cap_permitted = 0, cap_effective = 0, cap_bounding = 0, cap_ambient = 0;
    bool no_new_privs = false;
    uint64_t waits = 0; // how often it has left the processor to wait (voluntary_ctxt_switches)
    int seccomp = 0;
};
Result<ProcStatus> parse_status(std::string_view text);
Result<ProcStatus> read_status(int pid);
Result<ProcStatus> read_status(int pid, int tid);

// One mapping of /proc/PID/smaps.
struct ProcMapping {
    uint64_t start = 0, end = 0;
    bool read = false, write = false, execute = false, shared = false;
    uint64_t offset = 0;
    uint32_t major = 0, minor = 0;
    uint64_t inode = 0;
    std::string name;               // path, "[heap]", ...; escapes of newlines undone
    std::vector<std::string> flags; // VmFlags, two letters each
    uint64_t page_size = 0;         // KernelPageSize
    [[nodiscard]] bool has_flag(std::string_view flag) const;
};
Result<std::vector<ProcMapping>> parse_smaps(std::string_view text);
Result<std::vector<ProcMapping>> read_smaps(int pid);
// Without flags and page sizes, for which the kernel walks all page tables.
Result<std::vector<ProcMapping>> read_maps(int pid);

// /proc/PID/limits in the order of RLIMIT_* numbers; ~0 is unlimited.
Result<std::array<std::pair<uint64_t, uint64_t>, 16>> parse_limits(std::string_view text);

// /proc/PID/autogroup (sched(7)); no name: it is in none, or the kernel has none
struct Autogroup {
    std::string name;
    int nice = 0;
};
Result<Autogroup> parse_autogroup(std::string_view text);
Result<Autogroup> read_autogroup(int pid);

// /proc/PID/timers
struct ProcTimer {
    int id = 0;
    int signal = 0;
    uint64_t sigval = 0;
    int notify = 0; // SIGEV_*
    int notify_tid = 0;
    int clock = 0;
};
Result<std::vector<ProcTimer>> parse_timers(std::string_view text);

// Thread ids of a process, ascending. Who has just read its stat needs no list when that tells of a single one.
Result<std::vector<int>> threads_of(int pid);
Result<std::vector<int>> threads_of(const ProcStat &stat);
// `tids`: all threads of the process; the children of a process belong to one each (CONFIG_PROC_CHILDREN).
Result<std::vector<int>> children_of(int pid, const std::vector<int> &tids);

// A whole /proc file; ENOENT and ESRCH both mean that the process has gone.
Result<std::string> read_proc(int pid, std::string_view name);

} // namespace abey::os
