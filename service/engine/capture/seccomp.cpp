// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System call filters, read back from the kernel by ptrace(2).
#include "engine/capture/task.h"

#include <algorithm>
#include <cerrno>

#include <linux/filter.h>
#include <linux/seccomp.h>

namespace abey::capture {

namespace {

constexpr size_t most_filters = 1024; // the kernel's limit of 32768 instructions for all comes earlier

// A filter that asks a supervisor (SECCOMP_RET_USER_NOTIF) is nothing without the listener, which nobody can tell us.
bool asks_supervisor(const std::vector<sock_filter> &program) {
    return std::any_of(program.begin(), program.end(), [](const sock_filter &instruction) {
        return instruction.code == (BPF_RET | BPF_K) &&
               (instruction.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;
    });
}

} // namespace

Result<> capture_seccomp(os::Tracee &thread, int mode, model::Seccomp &seccomp) {
    if (mode == SECCOMP_MODE_DISABLED)
        return {};
    // The calls that we let the thread make are not among those that its filter was written for.
    if (auto suspended = thread.suspend_seccomp(trace_options); !suspended)
        return within(std::move(suspended).error(), "it has a seccomp filter, and the checkpointing process has too "
                                                    "(SystemCallFilter=) or is not privileged");
    seccomp.mode = mode;
    if (mode != SECCOMP_MODE_FILTER)
        return {};
    while (const auto found = TRY(thread.seccomp_filter(seccomp.filters.size()))) {
        if (seccomp.filters.size() >= most_filters)
            return fail(E2BIG, "it has more than {} seccomp filters", most_filters);
        if (asks_supervisor(found->program))
            return fail(0, "its seccomp filter asks a supervising program, which cannot be brought back; end this "
                           "process before the suspend");
        const auto *bytes = reinterpret_cast<const char *>(found->program.data());
        seccomp.filters.push_back({{bytes, found->program.size() * sizeof(sock_filter)}, found->log});
    }
    return {};
}

} // namespace abey::capture
