// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/keyrings.h"
#include "engine/capture/landlock.h"
#include "engine/capture/overruns.h"
#include "engine/capture/task.h"
#include "engine/os/kernel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <span>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

namespace abey::capture {

namespace {

constexpr size_t signal_count = 64;
constexpr uint64_t microseconds = 1000000;

// struct sigaction as rt_sigaction(2) takes it (arch/x86/include/uapi/asm/signal.h)
struct KernelAction {
    uint64_t handler;
    uint64_t flags;
    uint64_t restorer;
    uint64_t mask;
};
static_assert(sizeof(KernelAction) == sizeof(model::SignalAction));

struct KernelStack {
    uint64_t address;
    int32_t flags;
    uint32_t pad;
    uint64_t size;
};

struct KernelTimer { // struct itimerspec
    int64_t interval_seconds, interval_nanoseconds, value_seconds, value_nanoseconds;
};

uint64_t in_us(const timeval &time) {
    return static_cast<uint64_t>(time.tv_sec) * microseconds + static_cast<uint64_t>(time.tv_usec);
}

// Calls that tell about the thread which makes them, and where their answers are.
struct ThreadCalls {
    uint64_t stack = 0, tid_address = 0, death_signal = 0;
    size_t timer_slack = 0, securebits = 0, machine_checks = 0;
    uint64_t counter = 0;
    size_t flusher = 0;
    std::array<size_t, 3> speculation = {};
    std::optional<size_t> look;
    KeyringCalls keyrings;

    // `witness`: of Witnesses; `first`: ask for what the whole process has, too.
    void ask(os::Batch &batch, int witness, bool first) {
        stack = batch.reserve(sizeof(KernelStack));
        tid_address = batch.reserve(sizeof(uint64_t));
        death_signal = batch.reserve(sizeof(int32_t));
        batch.must("sigaltstack", SYS_sigaltstack, 0, stack);
        batch.must("PR_GET_TID_ADDRESS", SYS_prctl, PR_GET_TID_ADDRESS, tid_address);
        batch.must("PR_GET_PDEATHSIG", SYS_prctl, PR_GET_PDEATHSIG, death_signal);
        timer_slack = batch.must("PR_GET_TIMERSLACK", SYS_prctl, PR_GET_TIMERSLACK);
        securebits = batch.must("PR_GET_SECUREBITS", SYS_prctl, PR_GET_SECUREBITS);
        counter = batch.reserve(sizeof(int32_t));
        batch.may(SYS_prctl, PR_GET_TSC, counter);
        flusher = batch.may(SYS_prctl, PR_GET_IO_FLUSHER, 0, 0, 0, 0);
        machine_checks = batch.may(SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);
        for (size_t i = 0; i < speculation.size(); ++i)
            speculation.at(i) = batch.may(SYS_prctl, PR_GET_SPECULATION_CTRL, i, 0, 0, 0);
        if (witness != 0)
            look = batch.may(SYS_get_robust_list, witness, batch.reserve(sizeof(uint64_t)),
                             batch.reserve(sizeof(uint64_t)));
        keyrings.ask(batch, first);
    }
    [[nodiscard]] bool is_restricted(const os::Batch &batch) const { return look && batch.result(*look) == -EPERM; }
    void answer(const os::Batch &batch, model::Thread &thread) const {
        const auto kernel_stack = batch.output<KernelStack>(stack);
        // SS_ONSTACK only says where the stack pointer is now; it cannot be set (sigaltstack(2))
        thread.alternate_stack = {kernel_stack.address, kernel_stack.flags & ~SS_ONSTACK, kernel_stack.size};
        thread.clear_child_tid = batch.output<uint64_t>(tid_address);
        thread.parent_death_signal = batch.output<int32_t>(death_signal);
        thread.scheduling.timer_slack_ns = static_cast<uint64_t>(batch.result(timer_slack));
        thread.credentials.securebits = static_cast<uint32_t>(batch.result(securebits));
        // who has let go of CAP_SYS_RESOURCE is not told any more; of the first thread /proc tells it, too
        thread.io_flusher = thread.io_flusher || batch.result(flusher) == 1;
        thread.time_stamp_counter = batch.output<int32_t>(counter);
        if (batch.result(machine_checks) >= 0)
            thread.machine_checks = static_cast<int32_t>(batch.result(machine_checks));
        for (size_t i = 0; i < speculation.size(); ++i)
            if (const long state = batch.result(speculation.at(i)); state > 0 && (state & PR_SPEC_PRCTL) != 0)
                thread.speculation.at(i) = static_cast<int32_t>(state);
    }
};

void tell_restricted(Context &context, const os::ProcStat &stat) {
    const bool told = std::ranges::any_of(context.findings, [&](const Finding &finding) {
        return finding.pid == stat.pid && finding.object == "landlock";
    });
    if (!told)
        context.findings.push_back({stat.pid, stat.comm, "landlock",
                                    "it has restricted itself by landlock(7), which nobody can read and set again",
                                    "end this process before the suspend", true});
}

// Of a terminal that was opened by TIOCGPTPEER with O_CLOEXEC (ioctl_tty(2)), Linux keeps that as a flag of the open
// file and shows it in fdinfo of each descriptor, whatever the descriptor's own flag is: only the task can tell.
Result<> ask_close_on_exec(os::Injection &injection, os::Batch &batch, os::Tracee &thread, int own_tid,
                           const model::Tree &tree, model::DescriptorTable &table) {
    std::vector<model::Descriptor *> doubtful;
    for (auto &descriptor : table.descriptors) {
        const auto file = tree.open_files.find(descriptor.open_file);
        if (descriptor.close_on_exec && file != tree.open_files.end() &&
            std::holds_alternative<model::TerminalEnd>(file->second.payload))
            doubtful.push_back(&descriptor);
    }
    for (size_t first = 0; first < doubtful.size();) {
        batch.clear();
        std::vector<size_t> answers;
        size_t next = first;
        for (; next < doubtful.size() && batch.room() > 4 * sizeof(os::Batch::Entry); ++next)
            answers.push_back(batch.must("F_GETFD", SYS_fcntl, doubtful[next]->number, F_GETFD));
        TRY(injection.run(thread, own_tid, batch));
        for (size_t i = first; i < next; ++i)
            doubtful[i]->close_on_exec = (batch.result(answers[i - first]) & FD_CLOEXEC) != 0;
        first = next;
    }
    return {};
}

// A ring lies in the memory of children, too, where it leads to nothing. To fetch no event is possible in the process
// whose it is.
Result<> check_request_rings(os::Injection &injection, os::Tracee &thread, int own_tid,
                             const model::AddressSpace &space) {
    for (const model::RequestRing &ring : space.rings) {
        auto batch = injection.batch();
        const size_t fetched = batch.may(SYS_io_getevents, ring.address, 0, 0, 0, 0);
        TRY(injection.run(thread, own_tid, batch));
        if (batch.result(fetched) != 0)
            return fail(ENOTSUP,
                        "mapping {:x}: it has inherited the memory of another process's asynchronous I/O (io_setup), "
                        "which cannot be brought back; run the program without native asynchronous I/O",
                        ring.address);
    }
    return {};
}

} // namespace

Result<> capture_injected(Context &context, Stopped &process, const os::ProcStatus &status,
                          const std::vector<os::ProcMapping> &mappings, os::Gadgets &gadgets, const OwnIds &ids,
                          model::Task &task) {
    model::Tree &tree = context.tree;
    const int door = process.stat.door;
    const std::span<model::Thread> threads = std::span(task.threads).last(process.threads.size());
    auto &witnesses = context.state<Witnesses>();
    const auto witness_for = [&](const model::Thread &thread) {
        return witnesses.for_task(door, thread.credentials.uid, thread.credentials.gid);
    };
    const std::string timers_text = TRY(os::read_proc(door, "timers"));
    const auto timers = TRY(os::parse_timers(timers_text));
    auto injection = TRY(os::Injection::enter(process.threads.front(), status, mappings, gadgets));
    auto &space = tree.address_spaces.at(task.address_space);
    TRY_IN(check_request_rings(injection, process.threads.front(), status.own_tid, space), "process {} ({})",
           process.pid, process.stat.comm);

    auto batch = injection.batch();
    ThreadCalls thread_calls;
    thread_calls.ask(batch, TRY(witness_for(threads.front())), true);
    const uint64_t actions = batch.reserve(signal_count * sizeof(KernelAction));
    for (size_t signal = 1; signal <= signal_count; ++signal)
        if (signal != SIGKILL && signal != SIGSTOP)
            batch.must("rt_sigaction", SYS_rt_sigaction, signal, 0, actions + (signal - 1) * sizeof(KernelAction),
                       sizeof(uint64_t));
    const uint64_t interval_timers = batch.reserve(3 * sizeof(itimerval));
    for (size_t i = 0; i < 3; ++i)
        batch.must("getitimer", SYS_getitimer, i, interval_timers + i * sizeof(itimerval));
    const uint64_t subreaper = batch.reserve(sizeof(int32_t));
    batch.must("PR_GET_CHILD_SUBREAPER", SYS_prctl, PR_GET_CHILD_SUBREAPER, subreaper);
    const size_t dumpable = batch.must("PR_GET_DUMPABLE", SYS_prctl, PR_GET_DUMPABLE);
    const size_t thp = batch.must("PR_GET_THP_DISABLE", SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
    const size_t membarrier = batch.may(SYS_membarrier, kernel::membarrier_get_registrations, 0);
    const size_t barriers = batch.may(SYS_membarrier, kernel::membarrier_query, 0);
    const size_t deny = batch.may(SYS_prctl, kernel::pr_get_mdwe, 0, 0, 0, 0);
    const size_t merge = batch.may(SYS_prctl, kernel::pr_get_memory_merge, 0, 0, 0, 0);
    const size_t brk = batch.must("brk", SYS_brk, 0);
    TRY(injection.run(process.threads.front(), status.own_tid, batch));

    if (process.threads.front().tid() == process.pid)
        threads.front().io_flusher = (process.stat.flags & kernel::pf_io_flusher) == kernel::pf_io_flusher;
    thread_calls.answer(batch, threads.front());
    if (thread_calls.is_restricted(batch))
        tell_restricted(context, process.stat);
    const auto keyrings = thread_calls.keyrings.answer(batch);
    const auto raw_actions = batch.output(actions, signal_count * sizeof(KernelAction));
    task.actions.resize(signal_count);
    std::copy(raw_actions.begin(), raw_actions.end(), reinterpret_cast<std::byte *>(task.actions.data()));
    for (size_t i = 0; i < 3; ++i) {
        const auto timer = batch.output<itimerval>(interval_timers + i * sizeof(itimerval));
        task.interval_timers.at(i) = {in_us(timer.it_interval), in_us(timer.it_value)};
    }
    task.child_subreaper = batch.output<int32_t>(subreaper) != 0;
    task.dumpable = static_cast<int32_t>(batch.result(dumpable));
    task.thp_disabled = (batch.result(thp) & 1) != 0;
    task.thp_when_advised =
        (static_cast<unsigned long>(batch.result(thp)) & kernel::pr_thp_disable_except_advised) != 0;
    // Kernels before 6.3 do not tell. To be registered for more than was asked for does no harm, the other way round
    // does.
    task.membarrier = static_cast<uint32_t>(batch.result(membarrier) >= 0
                                                ? batch.result(membarrier)
                                                : std::max(0L, batch.result(barriers)) & kernel::membarrier_private);
    // what the kernel does not know cannot have been set
    task.memory_deny_write_execute = static_cast<int32_t>(std::max(0L, batch.result(deny)));
    task.memory_merge = batch.result(merge) == 1;
    space.layout.brk = static_cast<uint64_t>(batch.result(brk));

    if (const auto table = tree.descriptor_tables.find(task.descriptors); table != tree.descriptor_tables.end())
        TRY(ask_close_on_exec(injection, batch, process.threads.front(), status.own_tid, tree, table->second));
    for (size_t first = 0; first < timers.size();) {
        batch.clear();
        std::vector<uint64_t> values;
        std::vector<size_t> overruns;
        size_t next = first;
        for (; next < timers.size() && batch.room() > 4 * sizeof(os::Batch::Entry); ++next) {
            values.push_back(batch.reserve(sizeof(KernelTimer)));
            batch.must("timer_gettime", SYS_timer_gettime, timers[next].id, values.back());
            overruns.push_back(batch.may(SYS_timer_getoverrun, timers[next].id));
        }
        TRY(injection.run(process.threads.front(), status.own_tid, batch));
        for (size_t i = first; i < next; ++i) {
            const auto value = batch.output<KernelTimer>(values[i - first]);
            model::PosixTimer timer;
            timer.id = timers[i].id;
            timer.clock = timers[i].clock;
            timer.signal = timers[i].signal;
            timer.notify = timers[i].notify;
            if (const auto own = ids.tasks.find(timers[i].notify_tid); own != ids.tasks.end())
                timer.notify_tid = own->second;
            timer.sigval = timers[i].sigval;
            timer.overrun = static_cast<int32_t>(std::max(0L, batch.result(overruns[i - first])));
            timer.interval = {value.interval_seconds, static_cast<uint32_t>(value.interval_nanoseconds)};
            timer.value = {value.value_seconds, static_cast<uint32_t>(value.value_nanoseconds)};
            task.posix_timers.push_back(timer);
        }
        first = next;
    }
    tell_overruns(context, door, task);
    TRY(tell_keys(context, process.stat, injection, process.threads.front(), status.own_tid, keyrings));
    TRY(injection.make_room(process.threads.size() - 1));
    for (size_t first = 1; first < process.threads.size();) {
        const size_t count = std::min(injection.at_a_time(), process.threads.size() - first);
        std::vector<os::Injection::Work> works;
        std::vector<ThreadCalls> calls(count);
        for (size_t i = 0; i < count; ++i) {
            const model::Thread &thread = threads[first + i];
            works.push_back({.thread = &process.threads[first + i],
                             .own_tid = thread.inner_tids.empty() ? thread.tid : thread.inner_tids.back(),
                             .batch = injection.batch(i)});
            calls[i].ask(works[i].batch, TRY(witness_for(thread)), false);
        }
        TRY(injection.run_all(works));
        for (size_t i = 0; i < count; ++i) {
            const os::Batch &answers = works[i].batch;
            calls[i].answer(answers, threads[first + i]);
            if (calls[i].is_restricted(answers))
                tell_restricted(context, process.stat);
            TRY(tell_keys(context, process.stat, injection, *works[i].thread, works[i].own_tid,
                          calls[i].keyrings.answer(answers)));
        }
        first += count;
    }
    return injection.leave();
}

} // namespace abey::capture
