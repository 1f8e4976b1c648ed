// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/fill_husk.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/objects.h"
#include "engine/rebuild/sleeping.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>

#include <sys/syscall.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

constexpr size_t kernel_page = 4096;

// `slept`: what the call that it was in has returned to us (fall_asleep()).
Result<> set_thread(os::Tracee &tracee, const model::Thread &thread, std::optional<long> slept) {
    user_regs_struct registers = {};
    if (thread.registers.size() != sizeof registers)
        return fail(EBADMSG, "thread {}: {} bytes of registers where {} were expected", thread.tid,
                    thread.registers.size(), sizeof registers);
    std::memcpy(&registers, thread.registers.data(), sizeof registers);
    if (thread.sleep.call != 0)
        registers.orig_rax = thread.sleep.call;
    // The kernel begins the call again, or lets a signal that is handled now end it, as after any interruption.
    constexpr long restart_block = -516, restart_unless_handled = -514; // include/linux/errno.h
    if (slept)
        registers.rax = static_cast<uint64_t>(*slept);
    else if (static_cast<long>(registers.rax) == restart_block) // of another process
        registers.rax = static_cast<uint64_t>(restart_unless_handled);
    TRY(tracee.set_xstate(thread.xstate));
    TRY(tracee.set_registers(registers));
    return tracee.set_signal_mask(thread.signal_mask);
}

} // namespace

Result<uint64_t> call_in_region(int tid, const os::Remote &region) {
    std::string text(kernel_page, '\0');
    TRY(os::read_memory(tid, region.base(), std::as_writable_bytes(std::span(text))));
    const size_t at = text.find("\x0f\x05");
    if (at == std::string::npos)
        return fail(EFAULT, "the restore's region has no system call in it");
    return region.base() + at;
}

namespace {

// The signal that stopped it, as its parent will be told; SIGSTOP when another one would not stop it now. SIGTSTP,
// SIGTTIN and SIGTTOU do nothing to a process group that nobody outside could continue (signal(7), setpgid(2)).
int stop_signal(const model::Task &task, const model::Tree &tree) {
    const int signal = task.stop_signal;
    if (signal < 1 || static_cast<size_t>(signal) > task.actions.size())
        return SIGSTOP;
    const auto &action = task.actions[static_cast<size_t>(signal) - 1];
    const bool blocked = std::ranges::any_of(task.threads, [signal](const model::Thread &thread) {
        return (thread.signal_mask >> static_cast<unsigned>(signal - 1) & 1U) != 0;
    });
    const auto parent_of = [&tree](const model::Task &child) {
        return std::ranges::find(tree.tasks, child.parent, &model::Task::pid);
    };
    const bool guarded = std::ranges::any_of(tree.tasks, [&](const model::Task &member) {
        const auto parent = parent_of(member);
        return member.process_group == task.process_group && parent != tree.tasks.end() &&
               parent->session == member.session && parent->process_group != member.process_group;
    });
    const bool stops = action.handler == 0 && !blocked && guarded;
    return stops ? signal : SIGSTOP;
}

} // namespace

Result<> make_ready(Husk &husk, const model::Task &task) {
    auto &threads = husk.threads();
    const size_t last = task.threads.front().ended ? 1 : 0; // whose calls unmap the region
    const uint64_t call = TRY(call_in_region(threads.at(last).tid(), husk.shop().region));
    for (size_t i = last + 1; i < threads.size(); ++i) {
        const auto slept = TRY(fall_asleep(husk, threads[i], task.threads[i], call));
        TRY(threads[i].park());
        TRY(set_thread(threads[i], task.threads[i], slept));
    }
    os::Tracee &thread = threads.at(last);
    const auto slept = TRY(fall_asleep(husk, thread, task.threads.at(last), call));
    const user_regs_struct registers = TRY(thread.registers());
    const long unmapped = TRY(os::call_at(thread, call, registers, SYS_munmap,
                                          {husk.shop().region.base(), husk.shop().region.size()}, nullptr));
    if (unmapped != 0)
        return fail(static_cast<int>(-unmapped), "cannot unmap the restore's region");
    TRY(thread.park());
    return set_thread(thread, task.threads.at(last), slept);
}

Result<os::Guard> all_or_nothing(std::vector<int> pids) {
    return os::Guard::post({}, [pids = std::move(pids)] {
        for (const int pid : pids)
            (void)::kill(pid, SIGKILL);
    });
}

Result<> release(Husk &husk, const model::Task &task, const model::Tree &tree) {
    if (task.state == model::TaskState::stopped && ::kill(husk.pid(), stop_signal(task, tree)) < 0)
        return fail(errno, "process {}: cannot be stopped again", task.pid);
    for (os::Tracee &thread : husk.threads())
        TRY(thread.detach());
    return {};
}

} // namespace abey::rebuild
