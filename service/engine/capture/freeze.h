// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Bringing all processes of a tree or cgroup to a standstill, and letting them go.
#pragma once

#include "engine/os/procfs.h"
#include "engine/os/tracee.h"

#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <sys/ptrace.h>

namespace abey::capture {

// exec, clone and exit of a tracee are not ours to watch: nothing runs but what we inject.
inline constexpr unsigned long trace_options = PTRACE_O_TRACESYSGOOD;

// A process and no later one with its id.
struct Spared {
    int pid = 0;
    uint64_t start_time = 0; // clock ticks since boot, as /proc/PID/stat has it
};

// What is to stand still: the tree below a root process, or everything in a cgroup v2 directory and below.
struct Target {
    int pid = 0;
    std::string cgroup;
    std::vector<Spared> spare; // not these (the frontend)

    [[nodiscard]] bool spares(const os::ProcStat &stat) const;
};

// Of a process or thread: there is none any more.
inline bool vanished(const Error &error) { return error.code() == ESRCH || error.code() == ENOENT; }

// One process that stands still. A zombie has no threads.
struct Stopped {
    int pid = 0;
    os::ProcStat stat;
    std::vector<os::Tracee> threads; // the leader first, unless it has ended (stat.leader_ended())
    std::string cgroup;              // relative to the target's cgroup
};

// All of them, parents before children. Destruction lets everything run on as it was.
class StandStill {
  public:
    StandStill() = default;
    StandStill(StandStill &&) noexcept = default;
    StandStill &operator=(StandStill &&) noexcept = default;
    StandStill(const StandStill &) = delete;
    StandStill &operator=(const StandStill &) = delete;
    ~StandStill() = default;

    // Processes that cannot be held (kernel threads, under a debugger, gone) are errors; those held so far go on.
    // A process that borrows its parent's memory until it has started a program (vfork(2)) is given about a second:
    // until then no ptrace(2) and no signal but SIGKILL stops the parent (wait_for_vfork_done of kernel/fork.c).
    static Result<StandStill> of(const Target &target);

    std::vector<Stopped> &processes() { return processes_; }
    [[nodiscard]] const std::vector<Stopped> &processes() const { return processes_; }
    [[nodiscard]] bool contains(int pid) const;
    // The directory of the cgroup that those of the processes are below; empty: there is no cgroup v2. Does everything
    // in it belong to the target?
    [[nodiscard]] const std::string &base_cgroup() const { return base_cgroup_; }
    [[nodiscard]] bool has_whole_cgroup() const { return whole_cgroup_; }
    // How often at most a thread has left its processor for it.
    [[nodiscard]] uint64_t stops() const { return stops_; }
    // The name of a cgroup, as /proc/PID/cgroup has it, below that.
    [[nodiscard]] std::string below_base(std::string_view group) const;

    // From now on they die with us, however we end (PTRACE_O_EXITKILL).
    void doom() noexcept;

    // Ends them all by SIGKILL and waits until they are dead; they never run again.
    Result<> kill_all();

  private:
    static Result<StandStill> try_once(const Target &target);
    [[nodiscard]] std::string find_borrower() const;
    std::vector<Stopped> processes_;
    std::string base_cgroup_, base_name_; // directory, and as /proc/PID/cgroup has it
    bool whole_cgroup_ = false;
    std::string borrower_; // who has to go on first, in words: this is no standstill
    uint64_t stops_ = 0;
};

// The processes of a target as they are now, without stopping any (preflight), parents before children.
Result<std::vector<os::ProcStat>> list(const Target &target);

} // namespace abey::capture
