// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/fill_husk.h"

#include "engine/os/kernel.h"
#include "engine/os/procfs.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/objects.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/system_v.h"

#include <csignal>
#include <cstdlib>

#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

Result<> set_places(Context &context, Husk &husk, const model::Task &task, Calls &calls) {
    const model::FsContext &fs = *TRY(find(context.tree.fs_contexts, task.fs));
    TRY(calls.room_for());
    auto &batch = calls.batch();
    const int worker = husk.shop().worker_number;
    if (fs.root != 0) {
        batch.must("cannot take the root directory", SYS_pidfd_getfd, worker, TRY(context.open_file(fs.root)), 0);
        batch.must("cannot enter the root directory", SYS_fchdir, 0);
        batch.must("cannot change the root directory", SYS_chroot, batch.put_string("."));
        batch.must("close", SYS_close, 0);
    }
    batch.must("cannot take the working directory", SYS_pidfd_getfd, worker, TRY(context.open_file(fs.directory)), 0);
    batch.must("cannot enter the working directory", SYS_fchdir, 0);
    batch.must("close", SYS_close, 0);
    batch.must("umask", SYS_umask, fs.umask);
    return {};
}

// Set once for ever by a login (pam_loginuid); where it has been, that is the right one. Only the task itself may.
Result<> set_login(Husk &husk, const model::Task &task, Calls &calls) {
    const std::string path = fmt::format("/proc/{}/loginuid", husk.pid());
    const auto now = read_file(path);
    if (task.login_uid == ~0U || !now || *now != "4294967295")
        return {};
    const Fd file = TRY(abey::open_file(path, O_WRONLY));
    const std::string text = std::to_string(task.login_uid);
    auto &batch = calls.batch();
    batch.must("cannot take the file of its login uid", SYS_pidfd_getfd, husk.shop().worker_number, file.get(), 0);
    batch.may(SYS_write, 0, batch.put_string(text), text.size());
    batch.must("close", SYS_close, 0);
    return calls.flush();
}

// pidfd_getfd(2) gives the lowest free number, and the table has been empty: so it is known in advance.
Result<> set_descriptors(Context &context, Husk &husk, const model::DescriptorTable &table, Calls &calls) {
    constexpr size_t most_late = 1024; // open in the worker for this one table
    size_t since = 0;
    int lowest = 0;
    for (const model::Descriptor &descriptor : table.descriptors) {
        TRY(calls.room_for());
        auto &batch = calls.batch();
        const auto what = fmt::format("descriptor {}", descriptor.number);
        const int source = TRY_IN(take(context, descriptor.open_file), "{}", what);
        const size_t call =
            batch.must(fmt::format("cannot take {}", what), SYS_pidfd_getfd, husk.shop().worker_number, source, 0);
        calls.expect(call, lowest, what);
        if (descriptor.number != lowest) {
            batch.must(fmt::format("cannot make {}", what), SYS_dup3, lowest, descriptor.number,
                       descriptor.close_on_exec ? O_CLOEXEC : 0);
            batch.must("close", SYS_close, lowest);
        } else {
            if (!descriptor.close_on_exec)
                batch.must("fcntl", SYS_fcntl, lowest, F_SETFD, 0);
            ++lowest;
        }
        if (++since % most_late == 0) {
            TRY(calls.flush());
            taken(context);
        }
    }
    return {};
}

Result<> set_signals(const model::Task &task, Calls &calls) {
    TRY(calls.room_for((task.actions.size() + 2) * (sizeof(os::Batch::Entry) + sizeof(model::SignalAction))));
    auto &batch = calls.batch();
    // children that ended while the tree was made have sent SIGCHLD: ignoring it for a moment discards what is pending
    const model::SignalAction ignore{1, 0, 0, 0};
    batch.must("rt_sigaction", SYS_rt_sigaction, SIGCHLD, batch.put(ignore), 0, sizeof(uint64_t));
    batch.must("rt_sigaction", SYS_rt_sigaction, SIGCHLD, batch.put(model::SignalAction{}), 0, sizeof(uint64_t));
    for (size_t i = 0; i < task.actions.size(); ++i) {
        if (task.actions[i] == model::SignalAction{})
            continue;
        batch.must(fmt::format("cannot set the action of signal {}", i + 1), SYS_rt_sigaction, i + 1,
                   batch.put(task.actions[i]), 0, sizeof(uint64_t));
    }
    return {};
}

Result<> set_limits(const model::Task &task, Calls &calls) {
    TRY(calls.room_for(task.limits.size() * (sizeof(os::Batch::Entry) + sizeof(rlimit64))));
    auto &batch = calls.batch();
    for (size_t i = 0; i < task.limits.size(); ++i) {
        // what is as wanted already is left alone: raising a hard limit needs CAP_SYS_RESOURCE, keeping it does not
        rlimit64 own = {};
        const auto &wanted = task.limits.at(i);
        if (::prlimit64(0, static_cast<__rlimit_resource>(i), nullptr, &own) == 0 && own.rlim_cur == wanted.soft &&
            own.rlim_max == wanted.hard)
            continue;
        const rlimit64 limit = {wanted.soft, wanted.hard};
        batch.must(fmt::format("cannot set resource limit {} to {}/{}", i, wanted.soft, wanted.hard), SYS_prlimit64, 0,
                   i, batch.put(limit), 0);
    }
    return {};
}

// Who is in a session of its own is in a group of its own (kernel/sched/autogroup.c). Ours is not the task's to change.
Result<> set_autogroup(const Husk &husk, const model::Task &task) {
    if (task.autogroup_nice == 0) // as in each new one
        return {};
    const auto group = TRY(os::read_autogroup(husk.pid()));
    if (group.name.empty() || group.nice == task.autogroup_nice ||
        group.name == TRY(os::read_autogroup(::getpid())).name)
        return {};
    TRY_IN(write_file(fmt::format("/proc/{}/autogroup", husk.pid()), std::to_string(task.autogroup_nice)),
           "cannot set the nice value of the scheduler's group of its session (autogroup) to {}", task.autogroup_nice);
    return {};
}

} // namespace

Result<> fill_places(Context &context, Husk &husk, const model::Task &task) {
    Calls calls(husk);
    TRY(set_places(context, husk, task, calls));
    TRY(calls.flush());
    return set_login(husk, task, calls);
}

Result<> fill_state(Context &context, Husk &husk, const model::Task &task, bool table_done) {
    Calls calls(husk);
    if (!table_done) {
        const auto &table = *TRY(find(context.tree.descriptor_tables, task.descriptors));
        TRY(set_descriptors(context, husk, table, calls));
    }
    TRY(in_task(context, task, calls.batch(), [&] { return calls.flush(); }));
    TRY(use_system_v(context.tree, task, calls));
    TRY(set_signals(task, calls));
    TRY(calls.room_for());
    auto &batch = calls.batch();
    batch.must("personality", SYS_personality, task.personality);
    if (task.child_subreaper)
        batch.must("PR_SET_CHILD_SUBREAPER", SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
    if (task.thp_disabled)
        batch.must("PR_SET_THP_DISABLE", SYS_prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (task.thp_disabled && task.thp_when_advised) // an older kernel knows only the whole of it
        batch.may(SYS_prctl, PR_SET_THP_DISABLE, 1, kernel::pr_thp_disable_except_advised, 0, 0);
    if (task.memory_merge)
        batch.must("PR_SET_MEMORY_MERGE", SYS_prctl, kernel::pr_set_memory_merge, 1, 0, 0, 0);
    for (uint32_t command = 1; command != 0; command <<= 1U)
        if ((task.membarrier & command) != 0)
            batch.must("cannot register for membarrier", SYS_membarrier, command, 0);
    TRY(set_limits(task, calls));
    TRY(calls.flush());
    taken(context);
    const std::string filter = fmt::format("/proc/{}/coredump_filter", husk.pid());
    if (const auto now = read_file(filter); now && std::strtoul(now->c_str(), nullptr, 16) != task.coredump_filter)
        TRY_IN(write_file(filter, fmt::format("0x{:x}", task.coredump_filter)), "cannot set coredump_filter to {:x}",
               task.coredump_filter);
    const std::string adjust = fmt::format("/proc/{}/oom_score_adj", husk.pid());
    if (const auto now = read_file(adjust); now && std::atoi(now->c_str()) != task.oom_score_adj)
        TRY_IN(write_file(adjust, std::to_string(task.oom_score_adj)), "cannot set oom_score_adj to {}",
               task.oom_score_adj);
    return set_autogroup(husk, task);
}

} // namespace abey::rebuild
