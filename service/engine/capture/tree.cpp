// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/tree.h"

#include "engine/capture/cgroups.h"
#include "engine/capture/descriptors.h"
#include "engine/capture/kinds.h"
#include "engine/capture/namespaces.h"
#include "engine/capture/request_ring.h"
#include "engine/capture/shared_namespaces.h"
#include "engine/capture/task.h"
#include "engine/machine.h"
#include "engine/os/cause.h"
#include "engine/os/kernel.h"

#include <cerrno>
#include <set>

#include <sys/syscall.h>
#include <unistd.h>

namespace abey::capture {

namespace {

Result<Fd> pidfd_of(const os::ProcStat &stat) {
    Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, stat.door, stat.leader_ended() ? kernel::pidfd_thread : 0)));
    if (!fd && errno == EINVAL && stat.leader_ended())
        return fail(EINVAL,
                    "its first thread has ended while others run, whose descriptors cannot be had before Linux 6.9");
    if (!fd)
        return fail(errno, "cannot open a pidfd of process {}", stat.pid);
    return fd;
}

Result<> capture_process(Context &context, Stopped &process, const OwnIds &ids, os::Gadgets &gadgets) {
    const int door = process.stat.zombie() ? process.pid : process.stat.door;
    const auto status = TRY(os::read_status(door));
    std::vector<os::ProcMapping> mappings;
    if (!process.threads.empty())
        mappings = TRY(os::read_smaps(door)); // once: the kernel walks all page tables for it
    model::Task task = TRY(capture_task(context, process, status, mappings, ids));
    if (task.state != model::TaskState::zombie) {
        const std::string &comm = process.stat.comm;
        const size_t told = context.findings.size();
        check_task(context, process.stat, status, mappings);
        TRY(refuse_fatal(std::span(context.findings).subspan(told)));
        const Fd pidfd = TRY(pidfd_of(process.stat));
        TRY(capture_address_space(context, process, mappings, task));
        TRY(capture_fs(context, door, comm, status, task));
        task.descriptors = TRY(capture_descriptors(context, door, comm, pidfd.get()));
        task.terminal = TRY(controlling_terminal(context, process.stat));
        TRY(capture_injected(context, process, status, mappings, gadgets, ids, task));
    }
    if (context.captured)
        TRY(context.captured(door, task));
    context.tree.tasks.push_back(std::move(task));
    return {};
}

Result<> preflight_process(Context &context, const os::ProcStat &stat) {
    const auto status = os::read_status(stat.door);
    const auto mappings = os::read_smaps(stat.door);
    if (stat.zombie() || !status || !mappings)
        return {};
    check_task(context, stat, *status, *mappings);
    const auto note = [&](std::string object, const Error &error) {
        // processes and mappings may go while we look
        if (error.code() != ESRCH && error.code() != ENOENT)
            context.findings.push_back(to_finding(stat.pid, stat.comm, std::move(object), error));
    };
    const auto pidfd = pidfd_of(stat);
    if (!pidfd && pidfd.error().code() == EINVAL)
        note("first thread", pidfd.error());
    if (!pidfd)
        return {};
    if (const auto table = capture_descriptors(context, stat.door, stat.comm, pidfd->get()); !table)
        note("descriptors", table.error());
    if (const auto terminal = controlling_terminal(context, stat); !terminal)
        note("controlling terminal", terminal.error());
    for (const os::ProcMapping &mapping : *mappings) {
        if ((mapping.inode == 0 && !mapping.name.starts_with("/SYSV")) || is_request_ring(mapping) ||
            mapping.name.starts_with("socket:") || refused_by_link(mapping.name) != nullptr || mapping.has_flag("ht"))
            continue;
        const bool writable = mapping.has_flag("sh") && mapping.has_flag("mw");
        if (const auto file = capture_mapped_file(context, stat.door, stat.comm, mapping, writable); !file)
            note(fmt::format("mapping {:x}-{:x} ({})", mapping.start, mapping.end, mapping.name), file.error());
    }
    return {};
}

} // namespace

Result<> capture_tree(Context &context, StandStill &still) {
    const OwnIds ids = TRY(own_ids(still));
    context.is_inside = [&ids](int pid) { return ids.tasks.contains(pid); };
    std::vector<const os::ProcStat *> stats;
    for (const Stopped &process : still.processes()) {
        context.state<Namespaces>().cgroups[process.stat.door] = process.cgroup;
        stats.push_back(&process.stat);
    }
    look_at_session(context, stats);
    for (const Stopped &process : still.processes())
        TRY_IN(capture_namespaces(context, process.stat), "process {} ({})", process.pid, process.stat.comm);
    TRY(refuse_fatal(context.findings));
    TRY(capture_cgroups(context, still));
    os::Gadgets gadgets;
    for (Stopped &process : still.processes())
        TRY_IN(capture_process(context, process, ids, gadgets), "process {} ({})", process.pid, process.stat.comm);
    // The clocks go on from here, after what was left of sleeps and timers has been read: none may end early by them.
    context.tree.clocks = TRY(engine::clocks_of(still.processes().front().stat.door));
    if (!context.tree.namespaces.empty())
        check_user_namespaces(context);
    tell_shared_namespaces(context);
    TRY(complete(context));
    translate_ids(context.tree, ids);
    context.is_inside = {};
    return refuse_fatal(context.findings);
}

Result<> preflight(Context &context, const Target &target) {
    const auto processes = TRY(list(target));
    std::set<int> inside;
    std::vector<const os::ProcStat *> stats;
    for (const os::ProcStat &stat : processes) {
        inside.insert(stat.pid);
        stats.push_back(&stat);
    }
    look_at_session(context, stats);
    context.is_inside = [&inside](int pid) { return inside.contains(pid); };
    for (const os::ProcStat &stat : processes)
        TRY(capture_namespaces(context, stat));
    for (const os::ProcStat &stat : processes)
        TRY(preflight_process(context, stat));
    tell_shared_namespaces(context);
    TRY(complete(context));
    context.is_inside = {};
    return {};
}

Result<> refuse_fatal(std::span<const Finding> findings) {
    for (const Finding &finding : findings)
        if (finding.fatal)
            return fail(cause::not_suspendable, "process {} ({}), {}: {}{}{}", finding.pid, finding.comm,
                        finding.object, finding.reason, finding.advice.empty() ? "" : "; ", finding.advice);
    return {};
}

} // namespace abey::capture
