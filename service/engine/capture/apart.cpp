// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/apart.h"

#include <algorithm>

#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace abey::capture {

namespace {

std::string_view without_line_end(std::string_view label) {
    return label.substr(0, label.find_last_not_of(std::string_view("\0\n ", 3)) + 1);
}

// Without a module that has labels reading fails.
std::string label_of(int pid) { return os::read_proc(pid, "attr/current").value_or(""); }

// Context::state
struct Own {
    std::string label = label_of(::getpid());
};

// Documentation/admin-guide/hw-vuln/core-scheduling.rst; an error: the kernel or the machine has no such thing.
bool shares_cores(int tid) {
    constexpr int one_thread = 0; // PIDTYPE_PID
    uint64_t cookie = 0;
    return ::prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, tid, one_thread, &cookie) == 0 && cookie != 0;
}

} // namespace

std::string lost_confinement(std::string_view label, std::string_view own_label) {
    label = without_line_end(label);
    if (label.empty() || label == "unconfined" || label == without_line_end(own_label))
        return {};
    return fmt::format("its confinement \"{}\" by a security module cannot be set again yet", label);
}

void check_apart(Context &context, const os::ProcStat &stat) {
    const auto refuse = [&](std::string object, std::string reason) {
        context.findings.push_back(
            {stat.pid, stat.comm, std::move(object), std::move(reason), "end this process before the suspend", true});
    };
    // who has none himself runs on a kernel without such a module
    const std::string &own = context.state<Own>().label;
    if (auto reason = own.empty() ? "" : lost_confinement(label_of(stat.door), own); !reason.empty())
        refuse("security label", std::move(reason));
    const auto threads = os::threads_of(stat);
    if (!threads)
        return;
    if (std::ranges::any_of(*threads, shares_cores))
        context.findings.push_back({.pid = stat.pid,
                                    .comm = stat.comm,
                                    .object = "core scheduling",
                                    .reason =
                                        "whom its threads share processor cores with (PR_SCHED_CORE) is not kept: "
                                        "after the restore they share them with everybody",
                                    .advice = "set it again then",
                                    .fatal = false});
    for (const int thread : *threads) {
        if (thread == stat.door || thread == stat.pid) // itself, or one that has ended
            continue;
        // unshare(2); a comparison that fails is that of a thread which has just ended
        if (::syscall(SYS_kcmp, stat.door, thread, KCMP_FILES, 0, 0) > 0)
            refuse(fmt::format("thread {}", thread), "a thread with descriptors of its own cannot be restored yet");
        if (::syscall(SYS_kcmp, stat.door, thread, KCMP_FS, 0, 0) > 0)
            refuse(fmt::format("thread {}", thread),
                   "a thread with a working directory or umask of its own cannot be restored yet");
    }
}

} // namespace abey::capture
