// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/seccomp.h"

#include <algorithm>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace abey::rebuild {

namespace {

// How many filters, from the oldest on, all threads have in common.
size_t common_filters(const model::Task &task) {
    const auto &first = task.threads.front().seccomp.filters;
    size_t common = first.size();
    for (const model::Thread &thread : task.threads) {
        const auto &own = thread.seccomp.filters;
        const auto differ = std::mismatch(first.begin(), first.end(), own.begin(), own.end()).first;
        common = std::min(common, static_cast<size_t>(differ - first.begin()));
    }
    return common;
}

Result<> set_filter(Calls &calls, const model::SeccompFilter &filter, unsigned flags) {
    if (filter.program.empty() || filter.program.size() % sizeof(sock_filter) != 0 ||
        filter.program.size() / sizeof(sock_filter) > BPF_MAXINSNS)
        return fail(EBADMSG, "a seccomp filter of {} bytes; the checkpoint is damaged", filter.program.size());
    TRY(calls.room_for(filter.program.size() + sizeof(sock_fprog)));
    auto &batch = calls.batch();
    struct {
        uint64_t length; // the kernel reads 16 bits of it (struct sock_fprog)
        uint64_t program;
    } const given = {filter.program.size() / sizeof(sock_filter), batch.put(std::as_bytes(std::span(filter.program)))};
    static_assert(sizeof given == sizeof(sock_fprog));
    const size_t call = batch.must("cannot set a seccomp filter", SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                   flags | (filter.log ? SECCOMP_FILTER_FLAG_LOG : 0U), batch.put(given));
    calls.expect(call, 0, "a seccomp filter for all threads"); // TSYNC tells a thread that could not follow
    return {};
}

} // namespace

Result<> set_common_filters(Husk &husk, const model::Task &task) {
    const bool any = std::any_of(task.threads.begin(), task.threads.end(),
                                 [](const model::Thread &thread) { return thread.seccomp.mode != 0; });
    if (!any)
        return {};
    for (os::Tracee &thread : husk.threads())
        TRY_IN(thread.suspend_seccomp(husk_options), "seccomp");
    Calls calls(husk);
    const size_t common = common_filters(task);
    for (size_t i = 0; i < common; ++i)
        TRY(set_filter(calls, task.threads.front().seccomp.filters[i], SECCOMP_FILTER_FLAG_TSYNC));
    return calls.flush();
}

Result<> set_own_filters(Calls &calls, const model::Task &task, size_t thread) {
    const model::Seccomp &own = task.threads[thread].seccomp;
    for (size_t i = own.filters.empty() ? 0 : common_filters(task); i < own.filters.size(); ++i)
        TRY(set_filter(calls, own.filters[i], 0));
    if (own.mode == SECCOMP_MODE_STRICT) {
        TRY(calls.room_for());
        calls.batch().must("PR_SET_SECCOMP", SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    }
    return {};
}

} // namespace abey::rebuild
