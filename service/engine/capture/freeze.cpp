// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/freeze.h"

#include "engine/capture/leave_vdso.h"
#include "engine/os/cause.h"
#include "engine/os/cgroup.h"
#include "engine/os/one_cpu.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <set>
#include <utility>

#include <linux/kcmp.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::capture {

namespace {

constexpr int most_rounds = 100;
constexpr size_t most_processes = 100000;

Result<> refuse_if_untraceable(const os::ProcStat &stat) {
    if (stat.kernel_thread())
        return fail(0, "process {} ({}) is a kernel thread, which cannot be checkpointed", stat.pid, stat.comm);
    if (stat.pid == static_cast<int>(::getpid()))
        return fail(0, "process {} ({}) is the checkpointing process itself", stat.pid, stat.comm);
    return {};
}

// Parents before children; a process whose parent is not listed comes as its parent's place would be.
void sort_by_descent(std::vector<Stopped> &processes) {
    std::map<int, size_t> at;
    for (size_t i = 0; i < processes.size(); ++i)
        at[processes[i].pid] = i;
    std::vector<Stopped> sorted;
    std::vector<bool> placed(processes.size(), false);
    for (size_t i = 0; i < processes.size(); ++i) {
        std::vector<size_t> chain;
        for (size_t k = i; !placed[k];) {
            placed[k] = true;
            chain.push_back(k);
            const auto parent = at.find(processes[k].stat.parent);
            if (parent == at.end())
                break;
            k = parent->second;
        }
        for (auto k = chain.rbegin(); k != chain.rend(); ++k)
            sorted.push_back(std::move(processes[*k]));
    }
    processes = std::move(sorted);
}

// What a process that may end at any moment has: nothing, once it has ended.
Result<std::vector<int>> or_none(Result<std::vector<int>> found) {
    if (!found && vanished(found.error()))
        return std::vector<int>();
    return found;
}

// Nothing when the thread has ended, be it gone or not.
Result<std::optional<os::Tracee>> seize(const Stopped &process, int tid) {
    // A first thread that has ended cannot be seized (ptrace_attach in kernel/ptrace.c: EPERM), and a moment later its
    // number is that of a living one, when another thread calls execve(2): asked again, that one is there.
    constexpr int most_attempts = 10;
    for (int attempt = 1;; ++attempt) {
        auto tracee = os::Tracee::seize(tid, trace_options);
        if (tracee)
            return std::move(*tracee);
        if (vanished(tracee.error()))
            return std::nullopt;
        if (const auto stat = os::read_stat(process.pid, tid); stat ? stat->ended() : vanished(stat.error()))
            return std::nullopt;
        const auto status = os::read_status(process.pid, tid);
        const bool refused = tracee.error().code() == EPERM;
        // ptrace(2): who calls execve(2) in a thread takes the number of the first one, and is traced on
        if (refused && status && status->tracer == ::gettid())
            return os::Tracee::adopt(tid);
        if (refused && status && status->tracer != 0)
            return fail(EPERM, "process {} ({}) is being debugged by process {}; detach the debugger first",
                        process.pid, process.stat.comm, status->tracer);
        if (!refused || attempt == most_attempts)
            return within(std::move(tracee).error(), "process {} ({})", process.pid, process.stat.comm);
    }
}

long compare_memory(int one, int other) { return ::syscall(SYS_kcmp, one, other, KCMP_VM, 0, 0); }

// What is just ending has none, and two without would be alike.
bool has_memory(int door) {
    const auto pages = os::read_proc(door, "statm");
    return pages && !pages->starts_with("0 ");
}

bool share_memory(int one, int other) { return compare_memory(one, other) == 0 && has_memory(one); }

std::string told(const os::ProcStat &borrower, int lender) {
    return fmt::format("process {} ({}), memory: it shares its memory with process {} (vfork); wait until it has "
                       "started its program",
                       borrower.pid, borrower.comm, lender);
}

// Of processes that run, whoever's children they are (CLONE_PARENT of clone(2)). Who borrows another one's memory, in
// words; "": nobody does.
std::string borrower_among(const std::vector<os::ProcStat> &processes) {
    const auto before = [](const os::ProcStat *one, const os::ProcStat *other) {
        return compare_memory(one->door, other->door) == 1;
    };
    std::set<const os::ProcStat *, decltype(before)> known(before);
    for (const os::ProcStat &process : processes) {
        if (process.zombie())
            continue;
        const auto [other, is_new] = known.insert(&process);
        if (!is_new && share_memory((*other)->door, process.door))
            return told(process, (*other)->pid);
    }
    return "";
}

// Of all its threads that are held.
Result<std::vector<int>> children_of(const Stopped &process) {
    std::vector<int> tids;
    tids.reserve(process.threads.size());
    for (const os::Tracee &thread : process.threads)
        tids.push_back(thread.tid());
    return or_none(os::children_of(process.pid, tids));
}

// Seizes whatever of the process, which has these threads, is not seized yet; true when something new was found.
Result<bool> hold(Stopped &process, Result<std::vector<int>> tids, std::set<int> &held) {
    bool grew = false;
    for (const int tid : TRY(std::move(tids))) {
        if (held.contains(tid))
            continue;
        auto tracee = TRY(seize(process, tid));
        if (!tracee)
            continue;
        if (CPU_COUNT(&os::cpus_of_program()) > 1)
            tracee->watch_closely();
        held.insert(tid);
        if (tid == process.pid)
            process.threads.insert(process.threads.begin(), std::move(*tracee));
        else
            process.threads.push_back(std::move(*tracee));
        grew = true;
    }
    return grew;
}

void drop_ended(Stopped &process, size_t thread, int tid, std::set<int> &held) {
    held.erase(tid); // the number may be used again
    process.threads[thread].wait_for_end();
    process.threads.erase(process.threads.begin() + static_cast<ptrdiff_t>(thread));
}

// A stop is told once: a thread that has settled in an earlier round is not asked again. A thread that ended before its
// stop is dropped; true when there was one, because others may have come in its place. The leader last: its end is told
// when all others have been waited for.
Result<bool> settle_all(std::vector<Stopped> &processes, std::set<int> &held, std::set<int> &settled) {
    bool dropped = false;
    for (Stopped &process : processes)
        for (size_t i = process.threads.size(); i-- > 0;) {
            os::Tracee &thread = process.threads[i];
            const int tid = thread.tid();
            if (settled.contains(tid))
                continue;
            auto stop = thread.settle();
            if (stop) {
                settled.insert(tid);
                continue;
            }
            if (!vanished(stop.error()) && stop.error().code() != ECHILD)
                return within(std::move(stop).error(), "process {} ({})", process.pid, process.stat.comm);
            drop_ended(process, i, tid, held);
            dropped = true;
        }
    return dropped;
}

// A process that stood still, and was killed by one that did not yet: with all its threads, the leader last. True when
// there was one.
bool drop_killed(std::vector<Stopped> &processes, std::set<int> &held, std::set<int> &settled) {
    bool dropped = false;
    for (Stopped &process : processes) {
        if (std::ranges::all_of(process.threads, &os::Tracee::stands))
            continue;
        for (size_t i = process.threads.size(); i-- > 0;) {
            const int tid = process.threads[i].tid();
            settled.erase(tid);
            drop_ended(process, i, tid, held);
        }
        dropped = true;
    }
    return dropped;
}

// By the threads that it still has: a first one that has ended stays where it was when the others are moved.
std::string cgroup_of(const Stopped &process) {
    return process.threads.empty() ? std::string() : os::cgroup_of(process.pid, process.threads.front().tid());
}

// Processes that are gone, and seen by nobody any more; their numbers may be used again. Those that have become zombies
// stay, without threads.
Result<> drop_gone(std::vector<Stopped> &processes, std::set<int> &known) {
    for (auto process = processes.begin(); process != processes.end();) {
        if (!process->threads.empty()) {
            ++process;
            continue;
        }
        // its leader may have been found ended while others were there, and be ours: its parent is told when we wait
        (void)::waitpid(process->pid, nullptr, __WALL | WNOHANG);
        auto stat = os::read_stat(process->pid);
        if (!stat && !vanished(stat.error()))
            return std::unexpected(std::move(stat).error());
        if (!stat || stat->start_time != process->stat.start_time) {
            known.erase(process->pid);
            process = processes.erase(process);
            continue;
        }
        process->stat = *stat;
        ++process;
    }
    return {};
}

} // namespace

bool Target::spares(const os::ProcStat &stat) const {
    return std::ranges::any_of(
        spare, [&](const Spared &each) { return each.pid == stat.pid && each.start_time == stat.start_time; });
}

std::string StandStill::find_borrower() const {
    std::map<int, int> doors;
    for (const Stopped &process : processes_)
        if (!process.stat.ended() || process.stat.leader_ended())
            doors[process.pid] = process.stat.door;
    for (const Stopped &process : processes_)
        if (const auto parent = doors.find(process.stat.parent);
            parent != doors.end() && doors.contains(process.pid) && share_memory(process.stat.door, parent->second))
            return told(process.stat, process.stat.parent);
    return "";
}

Result<StandStill> StandStill::of(const Target &target) {
    constexpr int longest_ms = 512;
    uint64_t stops = 0;
    for (int wait_ms = 2;; wait_ms *= 2) {
        const bool is_last = wait_ms > longest_ms;
        std::string borrower = borrower_among(TRY(list(target))); // while nobody has to stand still for it
        if (borrower.empty()) {
            StandStill all = TRY(try_once(target));
            stops += all.whole_cgroup_ ? 2 : 1;
            all.stops_ = stops;
            if (all.borrower_.empty() && (is_last || TRY(leave_vdso(all.processes_, target))))
                return all;
            borrower = std::move(all.borrower_);
        } // lets them go on
        if (is_last)
            return fail(cause::not_suspendable, "{}", borrower);
        ::poll(nullptr, 0, wait_ms);
    }
}

Result<StandStill> StandStill::try_once(const Target &target) {
    StandStill all;
    std::set<int> known;
    std::set<int> held;
    std::set<int> settled;
    const auto list = [&](int pid, const std::string &cgroup) -> Result<bool> {
        if (known.contains(pid))
            return false;
        auto stat = os::read_stat(pid);
        if (!stat && vanished(stat.error()))
            return false;
        if (!stat)
            return std::unexpected(stat.error());
        if (target.spares(*stat))
            return false;
        TRY(refuse_if_untraceable(*stat));
        if (known.size() >= most_processes)
            return fail(E2BIG, "more than {} processes", most_processes);
        known.insert(pid);
        Stopped process;
        process.pid = pid;
        process.stat = *stat;
        process.cgroup = cgroup;
        all.processes_.push_back(std::move(process));
        return true;
    };
    const auto hold_all = [&](Stopped &process) -> Result<> {
        if (!process.stat.zombie())
            TRY(hold(process, or_none(os::threads_of(process.stat)), held));
        return {};
    };
    const auto take = [&](int pid) -> Result<bool> {
        if (!TRY(list(pid, "")))
            return false;
        TRY(hold_all(all.processes_.back()));
        return true;
    };

    if (!target.cgroup.empty()) {
        all.whole_cgroup_ = true;
        const os::Cgroup cgroup = TRY(os::Cgroup::open(target.cgroup));
        const os::Frozen frozen = TRY(os::Frozen::freeze(cgroup));
        for (const auto &[pid, below] : TRY(cgroup.processes()))
            TRY(list(pid, below));
        all.borrower_ = all.find_borrower();
        if (!all.borrower_.empty())
            return all; // nobody is held: the lender could not be stopped
        for (Stopped &process : all.processes_)
            TRY(hold_all(process));
        // cgroup.procs does not list zombies; as children they still belong to the tree
        for (size_t i = 0; i < all.processes_.size(); ++i)
            for (const int child : TRY(children_of(all.processes_[i])))
                if (auto stat = os::read_stat(child); stat && stat->zombie())
                    TRY(take(child));
        all.base_cgroup_ = cgroup.path();
        for (const Stopped &process : all.processes_) // its own name is what is left of that of a process in it
            if (const auto group = cgroup_of(process); all.base_name_.empty() && group.ends_with(process.cgroup))
                all.base_name_ = group.substr(0, group.size() - process.cgroup.size());
        while (all.base_name_.size() > 1 && all.base_name_.ends_with('/'))
            all.base_name_.pop_back();
        // the stops are taken while frozen; the thaw that follows lets only those run that were spared
        TRY(settle_all(all.processes_, held, settled));
    } else {
        if (target.pid <= 0)
            return fail(EINVAL, "{} is not a process id", target.pid);
        if (const auto root = os::read_stat(target.pid); !root)
            return fail(ESRCH, "there is no process {}", target.pid);
        TRY(take(target.pid));
        const std::string own = all.processes_.empty() ? "" : cgroup_of(all.processes_.front());
        all.base_name_ = own;
        all.base_cgroup_ = os::cgroup_directory(TRY(read_file("/proc/self/mountinfo")), own);
        // No freezer holds them: go on until neither a new thread nor a new child appears. A process is only complete
        // when all that could have made children stand.
        bool grew = true;
        for (int round = 0; grew; ++round) {
            if (round == most_rounds)
                return fail(EAGAIN,
                            "process {}: new processes appear faster than they can be stopped; give a cgroup instead",
                            target.pid);
            grew = TRY(settle_all(all.processes_, held, settled));
            grew |= drop_killed(all.processes_, held, settled);
            TRY(drop_gone(all.processes_, known));
            const size_t stand = all.processes_.size();
            for (size_t i = 0; i < all.processes_.size(); ++i) {
                Stopped &process = all.processes_[i];
                if (i < stand && !process.stat.zombie())
                    grew |= TRY(hold(process, or_none(os::threads_of(process.pid)), held));
                if (!process.stat.zombie())
                    grew |= process.threads.empty(); // on its way to its end: it is a zombie in a moment
                const int parent = process.threads.empty() ? process.pid : process.threads.back().tid();
                const bool stands = std::ranges::all_of(
                    process.threads, [&](const os::Tracee &thread) { return settled.contains(thread.tid()); });
                for (const int child : TRY(children_of(process))) { // the list moves when it grows
                    // One that does not stand yet may wait in vfork(2) for the child, which has to go on for that
                    const bool is_awaited = !stands && share_memory(child, parent);
                    grew |= is_awaited || TRY(take(child));
                }
            }
        }
    }
    TRY(drop_gone(all.processes_, known));
    if (all.processes_.empty())
        return fail(ESRCH, "there is no process to checkpoint in {}",
                    target.cgroup.empty() ? fmt::format("process {}: it has ended", target.pid) : target.cgroup);
    for (Stopped &process : all.processes_) {
        const auto before = std::exchange(process.stat, TRY(os::read_stat(process.pid)));
        // Ids are used again: what stands still now must be what was listed.
        const bool is_child = target.pid == 0 || process.pid == target.pid || known.contains(process.stat.parent);
        if (process.stat.start_time != before.start_time)
            return fail(EAGAIN, "process {} ({}) has ended and its id belongs to another one ({}); try again",
                        process.pid, before.comm, process.stat.comm);
        if (!is_child)
            return fail(EAGAIN, "process {} ({}) has just lost its parent, and belongs to process {} now; try again",
                        process.pid, before.comm, process.stat.parent);
        if (process.stat.zombie())
            continue;
        const int first = process.threads.empty() ? 0 : process.threads.front().tid();
        if (first == 0 || (first != process.pid) != process.stat.leader_ended())
            return fail(EAGAIN, "process {} ({}) is just ending; try again", process.pid, process.stat.comm);
        process.stat.door = first;
        if (target.cgroup.empty())
            process.cgroup = all.below_base(cgroup_of(process));
    }
    sort_by_descent(all.processes_);
    all.borrower_ = all.find_borrower();
    return all;
}

std::string StandStill::below_base(std::string_view group) const {
    const std::string start = base_name_ == "/" ? base_name_ : base_name_ + "/";
    return !base_name_.empty() && group.size() > start.size() && group.starts_with(start)
               ? std::string(group.substr(start.size()))
               : std::string();
}

bool StandStill::contains(int pid) const {
    return std::any_of(processes_.begin(), processes_.end(),
                       [&](const Stopped &process) { return process.pid == pid; });
}

void StandStill::doom() noexcept {
    for (const Stopped &process : processes_)
        for (const os::Tracee &thread : process.threads)
            static_cast<void>(::ptrace(PTRACE_SETOPTIONS, thread.tid(), 0, trace_options | PTRACE_O_EXITKILL));
}

namespace {

// The first process of a pid namespace never runs again, but it ends only when all others there have been waited for,
// and that may be up to somebody outside (pid_namespaces(7)).
bool ends_soon(int tid) {
    constexpr int most_tries = 500;
    for (int i = 0; i < most_tries; ++i) {
        siginfo_t info = {};
        if (::waitid(P_PID, static_cast<id_t>(tid), &info, WEXITED | WNOWAIT | WNOHANG | __WALL) < 0 ||
            info.si_pid != 0)
            return true;
        ::usleep(1000);
    }
    return false;
}

bool is_first_in_namespace(int pid) {
    const auto status = os::read_status(pid);
    return status && status->is_first_of_namespace();
}

} // namespace

Result<> StandStill::kill_all() {
    // Children first would let parents see their ends; nobody sees anything when all die while they stand.
    for (const Stopped &process : processes_)
        if (!process.threads.empty())
            (void)::kill(process.pid, SIGKILL);
    // The leader last: it does not end before its threads are reaped, and it is us who reap what we trace. So does the
    // first process of a pid namespace before all others there (pid_namespaces(7)).
    for (auto process = processes_.rbegin(); process != processes_.rend(); ++process)
        for (auto thread = process->threads.rbegin(); thread != process->threads.rend(); ++thread)
            while (thread->tid() != 0)
                if ((!ends_soon(thread->tid()) && is_first_in_namespace(process->pid)) || !thread->wait())
                    thread->forget();
    return {};
}

Result<std::vector<os::ProcStat>> list(const Target &target) {
    std::vector<Stopped> processes;
    const auto take = [&](int pid) -> Result<> {
        auto stat = os::read_stat(pid);
        if (stat && !target.spares(*stat)) {
            TRY(refuse_if_untraceable(*stat));
            processes.emplace_back().pid = pid;
            processes.back().stat = std::move(*stat);
        }
        return {};
    };
    if (!target.cgroup.empty()) {
        const os::Cgroup cgroup = TRY(os::Cgroup::open(target.cgroup));
        for (const auto &[pid, below] : TRY(cgroup.processes()))
            TRY(take(pid));
    } else {
        if (const auto root = os::read_stat(target.pid); target.pid <= 0 || !root)
            return fail(ESRCH, "there is no process {}", target.pid);
        TRY(take(target.pid));
        for (size_t i = 0; i < processes.size(); ++i) {
            const auto tids = os::threads_of(processes[i].stat).value_or(std::vector<int>());
            for (const int child : os::children_of(processes[i].pid, tids).value_or(std::vector<int>()))
                TRY(take(child));
        }
    }
    sort_by_descent(processes);
    std::vector<os::ProcStat> stats;
    stats.reserve(processes.size());
    for (Stopped &process : processes)
        stats.push_back(std::move(process.stat));
    return stats;
}

} // namespace abey::capture
