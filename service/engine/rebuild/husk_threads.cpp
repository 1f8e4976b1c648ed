// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/fill_husk.h"

#include "engine/os/kernel.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/own_namespaces.h"
#include "engine/rebuild/seccomp.h"
#include "engine/rebuild/system_v.h"
#include "engine/rebuild/timers.h"

#include <algorithm>
#include <csignal>
#include <cstring>

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace abey::rebuild {

namespace {

constexpr int default_timer_slack = 50000;

struct KernelStack {
    uint64_t address;
    int32_t flags;
    uint32_t pad;
    uint64_t size;
};
void set_scheduling(os::Batch &batch, const model::Scheduling &own) {
    kernel::SchedulingAttributes attributes = {};
    attributes.size = sizeof attributes;
    attributes.policy = own.policy;
    attributes.flags = own.flags;
    attributes.nice = own.nice;
    attributes.priority = own.priority;
    attributes.runtime = own.runtime;
    attributes.deadline = own.deadline;
    attributes.period = own.period;
    // Its own CPUs may all be gone: then any, not the one on which it was made. A deadline (sched(7)) needs them
    // before.
    const std::vector<std::byte> all(sizeof(cpu_set_t), std::byte(0xff));
    batch.may(SYS_sched_setaffinity, 0, all.size(), batch.put(all));
    batch.may(SYS_sched_setaffinity, 0, own.affinity.size(), batch.put(std::as_bytes(std::span(own.affinity))));
    if (own.policy != 0 || own.nice != 0 || own.flags != 0)
        batch.must("cannot set the scheduling policy", SYS_sched_setattr, 0, batch.put(attributes), 0);
    if (own.io_priority != 0)
        batch.must("cannot set the I/O priority", SYS_ioprio_set, 1, 0, own.io_priority);
    if (own.timer_slack_ns != default_timer_slack)
        batch.must("PR_SET_TIMERSLACK", SYS_prctl, PR_SET_TIMERSLACK, own.timer_slack_ns);
}

// The order of capabilities(7): while uids change, SECBIT_NO_SETUID_FIXUP keeps the capabilities that the rest needs.
// Ids are those that the session's user namespace has for them, and may have none in the task's: so it is entered in
// between.
void set_ids(os::Batch &batch, const model::Credentials &own) {
    batch.must("PR_SET_SECUREBITS", SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
    batch.must("PR_CAP_AMBIENT_CLEAR_ALL", SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    batch.must("cannot set the groups", SYS_setgroups, own.groups.size(),
               batch.put(std::as_bytes(std::span(own.groups))));
    batch.must("cannot set the group ids", SYS_setresgid, own.gid, own.egid, own.sgid);
    batch.must("cannot set the user ids", SYS_setresuid, own.uid, own.euid, own.suid);
    if (own.fsgid != own.egid)
        batch.may(SYS_setfsgid, own.fsgid);
    if (own.fsuid != own.euid)
        batch.may(SYS_setfsuid, own.fsuid);
}

// More than the worker has nobody gets from it.
uint64_t granted_capabilities() {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data = {};
    ::syscall(SYS_capget, &header, data.data());
    return data[0].permitted | static_cast<uint64_t>(data[1].permitted) << 32U;
}

void set_capabilities(os::Batch &batch, const model::Credentials &own) {
    const auto capabilities = [&batch](uint64_t effective, uint64_t permitted, uint64_t inheritable) {
        const __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
        const std::array<__user_cap_data_struct, 2> data = {{
            {static_cast<__u32>(effective), static_cast<__u32>(permitted), static_cast<__u32>(inheritable)},
            {static_cast<__u32>(effective >> 32U), static_cast<__u32>(permitted >> 32U),
             static_cast<__u32>(inheritable >> 32U)},
        }};
        batch.must(fmt::format("cannot set the capabilities {:x}, where this machine or container grants {:x} "
                               "(capsh --decode names them)",
                               permitted, granted_capabilities()),
                   SYS_capset, batch.put(header), batch.put(data));
    };
    for (unsigned capability = 0; capability < 64; ++capability)
        if ((own.bounding >> capability & 1U) == 0)
            batch.may(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0); // those above the kernel's last do not exist
    batch.must("PR_SET_SECUREBITS", SYS_prctl, PR_SET_SECUREBITS, own.securebits);
    capabilities(own.effective, own.permitted, own.inheritable);
    for (unsigned capability = 0; capability < 64; ++capability)
        if ((own.ambient >> capability & 1U) != 0)
            batch.must("PR_CAP_AMBIENT_RAISE", SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
    if (own.no_new_privs)
        batch.must("PR_SET_NO_NEW_PRIVS", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

void queue_signals(os::Batch &batch, const std::vector<model::Bytes> &pending, int pid, int tid) {
    for (const model::Bytes &info : pending) {
        int signal = 0;
        std::memcpy(&signal, info.data(), sizeof signal);
        const uint64_t at = batch.put(std::as_bytes(std::span(info)));
        if (tid != 0)
            batch.must("cannot queue a pending signal", SYS_rt_tgsigqueueinfo, pid, tid, signal, at);
        else
            batch.must("cannot queue a pending signal", SYS_rt_sigqueueinfo, pid, signal, at);
    }
}

// A signal for the end of walks which is not among those that are to be pending.
int unused_signal(const model::Task &task) {
    std::array<bool, 65> used{};
    const auto mark = [&](const std::vector<model::Bytes> &pending) {
        for (const model::Bytes &info : pending) {
            int signal = 0;
            std::memcpy(&signal, info.data(), sizeof signal);
            if (signal > 0 && signal < static_cast<int>(used.size()))
                used.at(static_cast<size_t>(signal)) = true;
        }
    };
    mark(task.pending);
    for (const model::PosixTimer &timer : task.posix_timers) // they may run out meanwhile
        if (timer.signal > 0 && timer.signal < static_cast<int>(used.size()))
            used.at(static_cast<size_t>(timer.signal)) = true;
    for (const model::Thread &thread : task.threads)
        mark(thread.pending);
    for (const int signal : {SIGURG, SIGWINCH, SIGCONT, SIGUSR1, SIGUSR2, SIGPIPE, SIGIO, SIGPWR, SIGHUP})
        if (!used.at(static_cast<size_t>(signal)))
            return signal;
    for (int signal = 64; signal > 0; --signal)
        if (!used.at(static_cast<size_t>(signal)) && signal != SIGKILL && signal != SIGSTOP)
            return signal;
    return SIGURG;
}

// pidfd_getfd(2) gives the lowest free number.
int lowest_free(const model::DescriptorTable &table) {
    int lowest = 0;
    for (const model::Descriptor &descriptor : table.descriptors)
        if (descriptor.number == lowest)
            ++lowest;
    return lowest;
}

// The pid namespace of children that it will make. Nobody who has another one than his own makes threads.
Result<> set_pids_of_children(Context &context, Husk &husk, const model::Task &task, Calls &calls) {
    const Fd *file = TRY(own_namespace(context, task.pids_of_children));
    const int lowest = lowest_free(*TRY(find(context.tree.descriptor_tables, task.descriptors)));
    TRY(calls.room_for());
    auto &batch = calls.batch();
    const size_t taken = batch.must("cannot take the pid namespace of its children", SYS_pidfd_getfd,
                                    husk.shop().worker_number, file->get(), 0);
    calls.expect(taken, lowest, "the pid namespace of its children");
    batch.must("cannot enter the pid namespace of its children", SYS_setns, lowest, CLONE_NEWPID);
    batch.must("close", SYS_close, lowest);
    return {};
}

// Leaves a descriptor of the user namespace in the place of the way to the worker.
Result<> take_user_namespace(Husk &husk, const model::DescriptorTable &table, const Fd &file, Calls &calls) {
    const int lowest = lowest_free(table);
    TRY(calls.room_for());
    auto &batch = calls.batch();
    const int number = husk.shop().worker_number;
    const size_t taken = batch.must("cannot take the user namespace", SYS_pidfd_getfd, number, file.get(), 0);
    calls.expect(taken, lowest, "the user namespace");
    batch.must("dup3", SYS_dup3, lowest, number, O_CLOEXEC);
    batch.must("close", SYS_close, lowest);
    return {};
}

// `user_namespace` of the task, where it is not the session's.
Result<> fill_thread(Context &context, Husk &husk, const model::Task &task, size_t index, const Fd *user_namespace) {
    const model::Thread &thread = task.threads[index];
    Calls calls(husk, index);
    auto &batch = calls.batch();
    const bool leader = index == 0;
    const int own_pid = numbers_of(task.pid, task.inner_pids).front();
    batch.must("PR_SET_NAME", SYS_prctl, PR_SET_NAME, batch.put_string(thread.comm));
    set_scheduling(batch, thread.scheduling);
    if (thread.io_flusher)
        batch.must("cannot set PR_SET_IO_FLUSHER (which needs CAP_SYS_RESOURCE)", SYS_prctl, PR_SET_IO_FLUSHER, 1, 0, 0,
                   0);
    batch.must("set_tid_address", SYS_set_tid_address, thread.clear_child_tid);
    if (thread.robust_list != 0)
        batch.must("set_robust_list", SYS_set_robust_list, thread.robust_list, thread.robust_list_size);
    const KernelStack stack = {thread.alternate_stack.address, thread.alternate_stack.flags, 0,
                               thread.alternate_stack.size};
    batch.must("sigaltstack", SYS_sigaltstack, batch.put(stack), 0);
    if (leader) {
        if (const int signal = unused_signal(task); signal != husk.stop_signal()) {
            TRY(calls.flush());
            husk.set_stop_signal(signal);
        }
        TRY(set_timers(husk, task, calls));
    }
    // Real-time signals may be many: run whenever there is no more room.
    for (const model::Bytes &info : thread.pending) {
        if (comes_from_timer(task, info))
            continue;
        TRY(calls.room_for(info.size()));
        queue_signals(batch, {info}, own_pid, numbers_of(thread.tid, thread.inner_tids).front());
    }
    if (leader)
        for (const model::Bytes &info : task.pending) {
            if (comes_from_timer(task, info))
                continue;
            TRY(calls.room_for(info.size()));
            queue_signals(batch, {info}, own_pid, 0);
        }
    if (leader && task.pids_of_children != 0)
        TRY(set_pids_of_children(context, husk, task, calls));
    TRY(calls.room_for());
    if (user_namespace != nullptr) {
        const auto *table = TRY(find(context.tree.descriptor_tables, task.descriptors));
        TRY(take_user_namespace(husk, *table, *user_namespace, calls));
    } else if (leader) { // with a shared table another task may have done it
        batch.may(SYS_close, husk.shop().worker_number);
    }
    TRY(set_own_filters(calls, task, index));
    constexpr size_t most_calls = 192; // one for each capability, twice, and some
    TRY(calls.room_for(most_calls * sizeof(os::Batch::Entry) + thread.credentials.groups.size() * sizeof(gid_t)));
    set_ids(batch, thread.credentials);
    if (user_namespace != nullptr) {
        batch.must("cannot enter the user namespace", SYS_setns, husk.shop().worker_number, CLONE_NEWUSER);
        batch.must("close", SYS_close, husk.shop().worker_number);
    }
    set_capabilities(batch, thread.credentials);
    if (thread.parent_death_signal != 0) // a change of credentials clears it
        batch.must("PR_SET_PDEATHSIG", SYS_prctl, PR_SET_PDEATHSIG, thread.parent_death_signal);
    for (size_t i = 0; i < thread.speculation.size(); ++i) {
        const int state = thread.speculation.at(i) & ~static_cast<int>(PR_SPEC_PRCTL);
        const int usual = i == PR_SPEC_L1D_FLUSH ? PR_SPEC_DISABLE : PR_SPEC_ENABLE;
        if (state != 0 && state != usual)
            batch.must("cannot set how it may speculate", SYS_prctl, PR_SET_SPECULATION_CTRL, i, state, 0, 0);
    }
    if (thread.machine_checks != PR_MCE_KILL_DEFAULT)
        batch.must("PR_MCE_KILL", SYS_prctl, PR_MCE_KILL, PR_MCE_KILL_SET, thread.machine_checks, 0, 0);
    if (thread.time_stamp_counter == PR_TSC_SIGSEGV)
        batch.must("PR_SET_TSC", SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
    // forbids only what is done from now on
    if (leader && task.memory_deny_write_execute != 0)
        batch.must("cannot deny it memory that is written and executed", SYS_prctl, kernel::pr_set_mdwe,
                   task.memory_deny_write_execute, 0, 0, 0);
    if (leader && (task.dumpable == 0 || task.dumpable == 1))
        batch.must("PR_SET_DUMPABLE", SYS_prctl, PR_SET_DUMPABLE, task.dumpable, 0, 0, 0);
    // Last: from now on each return to user mode looks at this memory.
    if (thread.rseq.address != 0)
        batch.must("cannot register rseq", SYS_rseq, thread.rseq.address, thread.rseq.size, thread.rseq.flags,
                   thread.rseq.signature);
    return calls.flush();
}

} // namespace

Result<> fill_threads(Context &context, Husk &husk, const model::Task &task) {
    Calls calls(husk);
    TRY(finish_system_v(context.tree, task, calls));
    TRY(calls.flush());
    std::vector<Numbers> tids;
    tids.reserve(task.threads.size());
    for (const model::Thread &thread : task.threads)
        tids.push_back(numbers_of(thread.tid, thread.inner_tids));
    TRY(husk.add_threads(std::span(tids).subspan(1)));
    TRY(set_common_filters(husk, task));
    const Fd *users = nullptr;
    if (const model::ObjRef id = namespace_of(context.tree, task, "user"); id != 0) {
        if (task.threads.size() > 1)
            return fail(ENOTSUP, "a program with several threads in a user namespace of its own");
        users = TRY(own_namespace(context, id));
    }
    // the leader last: it closes the way to the worker
    for (size_t i = task.threads.size(); i-- > 0;)
        TRY_IN(fill_thread(context, husk, task, i, users), "thread {}", task.threads[i].tid);
    if (!task.threads.front().ended)
        return {};
    // Now: its children, which follow, would be told by the signal that they ask for at the end of a parent.
    return husk.end_first_thread(TRY(call_in_region(husk.pid(), husk.shop().region)), task.exit_code);
}

} // namespace abey::rebuild
