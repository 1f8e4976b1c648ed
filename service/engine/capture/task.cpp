// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/task.h"
#include "engine/capture/apart.h"
#include "engine/capture/cgroups.h"
#include "engine/capture/descriptors.h"
#include "engine/capture/kinds.h"
#include "engine/capture/leave_vdso.h"
#include "engine/capture/mounts.h"
#include "engine/capture/namespaces.h"
#include "engine/capture/request_ring.h"
#include "engine/capture/sleeping.h"
#include "engine/capture/waiting.h"

#include "engine/os/cgroup.h"
#include "engine/os/critical_section.h"
#include "engine/os/kernel.h"
#include "engine/os/vdso.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>

#include <linux/futex.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::capture {

namespace {

// Context::state: are there cgroup hierarchies without controllers?
struct NamedHierarchies {
    std::optional<bool> exist;
};

model::Credentials credentials_of(const os::ProcStatus &status) {
    model::Credentials own;
    own.uid = status.uids[0];
    own.euid = status.uids[1];
    own.suid = status.uids[2];
    own.fsuid = status.uids[3];
    own.gid = status.gids[0];
    own.egid = status.gids[1];
    own.sgid = status.gids[2];
    own.fsgid = status.gids[3];
    own.groups = status.groups;
    own.inheritable = status.cap_inheritable;
    own.permitted = status.cap_permitted;
    own.effective = status.cap_effective;
    own.bounding = status.cap_bounding;
    own.ambient = status.cap_ambient;
    own.no_new_privs = status.no_new_privs;
    return own;
}

Result<model::Scheduling> scheduling_of(int tid) {
    model::Scheduling own;
    kernel::SchedulingAttributes attributes = {};
    if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) < 0)
        return fail(errno, "cannot read the scheduling attributes of thread {}", tid);
    own.policy = attributes.policy;
    own.flags = attributes.flags;
    own.nice = attributes.nice;
    own.priority = attributes.priority;
    own.runtime = attributes.runtime;
    own.deadline = attributes.deadline;
    own.period = attributes.period;
    std::string affinity(8192 / 8, '\0');
    const long n = ::syscall(SYS_sched_getaffinity, tid, affinity.size(), affinity.data());
    if (n < 0)
        return fail(errno, "cannot read the CPU affinity of thread {}", tid);
    affinity.resize(static_cast<size_t>(n));
    own.affinity = std::move(affinity);
    const long priority = ::syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, tid);
    own.io_priority = priority > 0 ? static_cast<int32_t>(priority) : 0;
    return own;
}

Result<model::Thread> capture_thread(Context &context, os::Tracee &tracee, const os::ProcStat &stat,
                                     const os::ProcStatus &status, const std::vector<os::ProcMapping> &mappings,
                                     const OwnIds &ids) {
    model::Thread thread;
    const int pid = stat.door;
    if (const auto rseq = tracee.rseq()) { // not there before Linux 5.13: then the task has none that we could know of
        thread.rseq = {rseq->address, rseq->size, rseq->signature, rseq->flags};
        TRY(os::abort_critical_section(tracee, pid, *rseq));
    }
    const int tid = tracee.tid();
    if (tracee.has_syscall_dispatch()) // calls that we let it make would be handed over, too
        return fail(0,
                    "thread {}: it has its system calls handed to itself (PR_SET_SYSCALL_USER_DISPATCH), as emulators "
                    "do, which cannot be brought back; end the program before the suspend",
                    tid);
    thread.tid = ids.of_session(status.all_tids);
    thread.inner_tids = ids.inner(status.all_tids);
    if (tid == stat.pid) {
        thread.comm = stat.comm;
    } else {
        thread.comm = TRY(os::read_proc(pid, fmt::format("task/{}/comm", tid)));
        if (!thread.comm.empty() && thread.comm.back() == '\n')
            thread.comm.pop_back();
    }
    TRY(continue_wait(context, tracee, status, mappings));
    const user_regs_struct registers = TRY(tracee.registers());
    for (const os::ProcMapping &mapping : mappings)
        if (mapping.name == "[vdso]" && stands_within(pid, registers, {mapping.start, mapping.end}))
            context.findings.push_back({.pid = stat.pid,
                                        .comm = stat.comm,
                                        .object = fmt::format("thread {}", tid),
                                        .reason = "it is in a function of the kernel's vDSO, where it can come back "
                                                  "under the same kernel only",
                                        .advice = "suspend again, should the kernel be updated before the resume",
                                        .fatal = false});
    thread.registers.assign(reinterpret_cast<const char *>(&registers), sizeof registers);
    thread.xstate = TRY(tracee.xstate());
    thread.signal_mask = TRY(tracee.signal_mask());
    thread.pending = TRY(tracee.pending(false));
    thread.credentials = credentials_of(status);
    TRY_IN(capture_seccomp(tracee, status.seccomp, thread.seccomp), "thread {}", tid);
    thread.scheduling = TRY(scheduling_of(tid));
    size_t size = 0;
    if (::syscall(SYS_get_robust_list, tid, &thread.robust_list, &size) < 0)
        return fail(errno, "cannot read the robust futex list of thread {}", tid);
    thread.robust_list_size = size;
    return thread;
}

// What is left of a first thread that has ended, and can be seen. A filter that all threads share was its own, too;
// which one it had otherwise nobody can tell any more.
Result<model::Thread> capture_ended_leader(const Stopped &process, const OwnIds &ids, const model::Thread &other) {
    const auto status = TRY(os::read_status(process.pid));
    model::Thread thread;
    thread.ended = true;
    thread.tid = ids.of_session(status.all_tids);
    thread.inner_tids = ids.inner(status.all_tids);
    thread.comm = process.stat.comm;
    thread.signal_mask = status.blocked;
    thread.credentials = credentials_of(status);
    thread.credentials.securebits = other.credentials.securebits;
    thread.scheduling = TRY(scheduling_of(process.pid));
    thread.scheduling.timer_slack_ns = other.scheduling.timer_slack_ns;
    thread.seccomp = other.seccomp;
    return thread;
}

Result<uint32_t> proc_number(int pid, std::string_view name, int base) {
    const std::string text = TRY(os::read_proc(pid, name));
    int64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value, base).ec != std::errc())
        return fail(0, "cannot understand /proc/{}/{}: {}", pid, name, text);
    return static_cast<uint32_t>(value);
}

// Context::state: directories and umasks, found again by kcmp(2) of one process that has each (CLONE_FS shares them).
struct FsContexts {
    struct Order {
        bool operator()(int a, int b) const { return ::syscall(SYS_kcmp, a, b, KCMP_FS, 0, 0) == 1; }
    };
    std::map<int, model::ObjRef, Order> by_pid;
};

int own_id(const OwnIds &ids, int id) {
    const auto found = ids.tasks.find(id);
    return found == ids.tasks.end() ? 0 : found->second;
}

} // namespace

Result<model::Task> capture_task(Context &context, Stopped &process, const os::ProcStatus &status,
                                 const std::vector<os::ProcMapping> &mappings, const OwnIds &ids) {
    model::Task task;
    const os::ProcStat &stat = process.stat;
    task.pid = ids.of_session(status.all_pids);
    task.parent = own_id(ids, stat.parent);
    task.process_group = ids.of_session(status.all_groups);
    task.session = ids.of_session(status.all_sessions);
    task.inner_pids = ids.inner(status.all_pids);
    task.inner_groups = ids.inner(status.all_groups);
    task.inner_sessions = ids.inner(status.all_sessions);
    task.comm = stat.comm;
    task.exit_signal = stat.exit_signal;
    task.cgroup = process.cgroup;
    const auto &namespaces = context.state<Namespaces>();
    if (const auto own = namespaces.by_pid.find(stat.door); own != namespaces.by_pid.end())
        task.namespaces = own->second;
    if (const auto own = namespaces.pids_of_children.find(stat.door); own != namespaces.pids_of_children.end())
        task.pids_of_children = own->second;
    if (process.threads.empty()) {
        task.state = model::TaskState::zombie;
        task.exit_code = stat.exit_code;
        return task;
    }
    const int door = process.stat.door;
    const int stopped_by = process.threads.front().group_stop();
    task.state = stopped_by != 0 ? model::TaskState::stopped : model::TaskState::running;
    task.stop_signal = stopped_by;
    auto &has_named = context.state<NamedHierarchies>().exist;
    if (!has_named)
        has_named = read_file("/proc/self/cgroup").value_or("").find(":name=") != std::string::npos;
    for (os::Tracee &tracee : process.threads) {
        const os::ProcStatus own = tracee.tid() == door ? status : TRY(os::read_status(door, tracee.tid()));
        task.threads.push_back(TRY(capture_thread(context, tracee, stat, own, mappings, ids)));
        capture_sleep(context, tracee.tid(), task.threads.back());
        task.threads.back().cgroup = cgroup_of_thread(context, tracee.tid());
        if (*has_named)
            task.threads.back().named_cgroups = os::named_cgroups(door, tracee.tid());
    }
    if (process.stat.leader_ended()) {
        auto ended = TRY(capture_ended_leader(process, ids, task.threads.front()));
        task.threads.insert(task.threads.begin(), std::move(ended));
        task.exit_code = process.stat.exit_code;
    }
    task.pending = TRY(process.threads.front().pending(true));
    const std::string limits_text = TRY(os::read_proc(door, "limits"));
    const auto limits = TRY(os::parse_limits(limits_text));
    for (size_t i = 0; i < limits.size(); ++i)
        task.limits.at(i) = {limits.at(i).first, limits.at(i).second};
    task.autogroup_nice = TRY(os::read_autogroup(door)).nice;
    task.personality = TRY(proc_number(door, "personality", 16));
    task.oom_score_adj = static_cast<int32_t>(TRY(proc_number(door, "oom_score_adj", 10)));
    if (const auto filter = proc_number(door, "coredump_filter", 16)) // absent without CONFIG_ELF_CORE
        task.coredump_filter = *filter;
    if (const auto login = proc_number(door, "loginuid", 10)) // absent without CONFIG_AUDIT
        task.login_uid = *login;
    return task;
}

Result<> capture_fs(Context &context, int pid, const std::string &comm, const os::ProcStatus &status,
                    model::Task &task) {
    auto &known = context.state<FsContexts>().by_pid;
    const auto place = known.lower_bound(pid);
    if (place != known.end()) {
        const long same = ::syscall(SYS_kcmp, pid, place->first, KCMP_FS, 0, 0);
        if (same < 0)
            return fail(errno, "process {} ({}): cannot compare its working directory by kcmp(2)", pid, comm);
        if (same == 0) {
            task.fs = place->second;
            return {};
        }
    }
    model::FsContext fs;
    fs.umask = status.umask;
    fs.directory = TRY(capture_link(context, pid, comm, "cwd", O_PATH));
    const auto *of_process = std::get_if<model::ProcessFile>(&context.tree.open_files.at(fs.directory).payload);
    if (of_process != nullptr && of_process->dead) // nobody can go there
        return fail(0,
                    "process {} ({}), cwd: its working directory is that of an ended process in /proc; change its "
                    "directory",
                    pid, comm);
    const auto &mounts = context.state<MountNamespaces>();
    const auto own_mounts = mounts.by_pid.find(pid);
    struct stat usual = {};
    struct stat theirs = {};
    const int looked = own_mounts == mounts.by_pid.end()
                           ? ::stat("/", &usual)
                           : ::fstat(mounts.own.at(own_mounts->second).root.get(), &usual);
    if (looked < 0 || ::stat(fmt::format("/proc/{}/root", pid).c_str(), &theirs) < 0)
        return fail(errno, "process {} ({}): cannot look at its root directory", pid, comm);
    if (usual.st_dev != theirs.st_dev || usual.st_ino != theirs.st_ino)
        fs.root = TRY(capture_link(context, pid, comm, "root", O_PATH));
    fs.id = context.tree.next_id();
    task.fs = fs.id;
    context.tree.fs_contexts[fs.id] = fs;
    known.emplace_hint(place, pid, fs.id);
    return {};
}

void check_task(Context &context, const os::ProcStat &stat, const os::ProcStatus &status,
                const std::vector<os::ProcMapping> &mappings) {
    const auto refuse = [&](std::string object, std::string reason, std::string advice) {
        context.findings.push_back(
            {stat.pid, stat.comm, std::move(object), std::move(reason), std::move(advice), true});
    };
    if (status.tracer != 0 && status.tracer != static_cast<int>(::getpid()))
        refuse("debugger", fmt::format("it is being debugged by process {}", status.tracer),
               "detach the debugger first");
    if (stat.parent != 0 && context.is_inside && context.is_inside(stat.parent) &&
        ::syscall(SYS_kcmp, stat.door, stat.parent, KCMP_VM, 0, 0) == 0)
        context.findings.push_back({stat.pid, stat.comm, "memory",
                                    fmt::format("it shares its memory with process {} (vfork)", stat.parent),
                                    "wait until it has started its program", !context.preflight}); // as most soon do
    check_apart(context, stat);
    for (const os::ProcMapping &mapping : mappings) {
        const auto at = fmt::format("mapping {:x}-{:x} ({})", mapping.start, mapping.end, mapping.name);
        if (mapping.has_flag("ht") && mapping.name != "/anon_hugepage (deleted)" &&
            !mapping.name.starts_with("/memfd:"))
            refuse(at, "huge pages (hugetlb) of a file or a System V segment cannot be restored yet",
                   "run the program without them");
        else if (mapping.has_flag("um") || mapping.has_flag("uw"))
            refuse(at, "memory under userfaultfd cannot be restored", "");
        else if (mapping.has_flag("pf") && !mapping.name.starts_with("[v"))
            refuse(at, "a mapping of a device has state that cannot be saved",
                   "close the program that uses the device");
        else if (mapping.name == "[vdso]" && mapping.has_flag(os::sealed) && os::own_vdso_is_sealed().value_or(true))
            refuse(
                at,
                "this kernel seals the vDSO of every process (CONFIG_MSEAL_SYSTEM_MAPPINGS): it could not be put back",
                "boot a kernel that does not");
        else if (const Refused *refused = refused_by_link(mapping.name); refused != nullptr)
            refuse(at, std::string(refused->reason), std::string(refused->advice));
        else if (mapping.name.starts_with("socket:"))
            refuse(at, "memory that a socket shares with the kernel (a ring of packets) cannot be brought back",
                   "end the program that holds it");
        else if (is_request_ring(mapping))
            context.findings.push_back(
                {stat.pid, stat.comm, at,
                 "asynchronous I/O (io_setup): what its disks have been asked for is waited for, "
                 "but requests to files elsewhere (network, FUSE), or that wait for readiness "
                 "(IOCB_CMD_POLL), cannot be seen: their answers would be lost",
                 "", false});
        else if (mapping.name == "[uprobes]")
            refuse(at, "it is being traced by uprobes", "stop the tracing first");
    }
}

} // namespace abey::capture
