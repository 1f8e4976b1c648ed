// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/timers.h"

#include "engine/model/queued_signal.h"
#include "engine/os/kernel.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <ctime>
#include <optional>
#include <set>

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

namespace abey::rebuild {

namespace {

constexpr uint64_t microseconds = 1000000;
constexpr int64_t one_second = 1000000000;
constexpr int most_timer_gaps = 100000;

struct KernelTimer {
    int64_t interval_seconds, interval_nanoseconds, value_seconds, value_nanoseconds;
};
struct KernelEvent { // struct sigevent, asm-generic/siginfo.h
    uint64_t value;
    int32_t signal;
    int32_t notify;
    int32_t tid;
    int32_t pad[11]; // NOLINT: the kernel's layout
};
static_assert(sizeof(KernelEvent) == 64);

// Of a time that can be reckoned with; -1: not one.
int64_t reckoned(const model::Time &time) {
    constexpr int64_t longest = INT64_MAX / one_second / 4;
    return time.seconds < 0 || time.seconds > longest ? -1 : time.seconds * one_second + time.nanoseconds;
}

KernelTimer kernel_timer(int64_t interval, int64_t value) {
    return {interval / one_second, interval % one_second, value / one_second, value % one_second};
}

bool is_queued(const std::vector<model::Bytes> &pending, int signal) {
    return std::ranges::any_of(pending, [signal](const model::Bytes &info) {
        int queued = 0;
        std::memcpy(&queued, info.data(), std::min(sizeof queued, info.size()));
        return queued == signal;
    });
}

// The thread that a timer's signal can be taken by; nothing: none, or another signal would be taken.
std::optional<size_t> taker_of(const model::Task &task, const model::PosixTimer &timer) {
    constexpr int last_signal = 64;
    if (timer.signal <= 0 || timer.signal > last_signal || timer.signal == SIGKILL || timer.signal == SIGSTOP)
        return std::nullopt;
    if (timer.notify != SIGEV_THREAD_ID)
        return timer.notify == SIGEV_SIGNAL ? std::optional<size_t>(0) : std::nullopt;
    const auto thread = std::ranges::find(task.threads, timer.notify_tid, &model::Thread::tid);
    // those of the first one are not queued yet
    if (thread == task.threads.end() || (thread != task.threads.begin() && is_queued(thread->pending, timer.signal)))
        return std::nullopt;
    return static_cast<size_t>(thread - task.threads.begin());
}

// Its clock goes on by itself, and it runs out again and again.
bool is_regular(const model::PosixTimer &timer) {
    return (timer.clock == CLOCK_REALTIME || timer.clock == CLOCK_MONOTONIC || timer.clock == CLOCK_BOOTTIME ||
            timer.clock == CLOCK_TAI) &&
           reckoned(timer.interval) > 0 && reckoned(timer.value) > 0;
}

// When the clock stood there, the timer has run out `times` times until now, with so much left until the next; 0: the
// clock did not run then yet.
Result<int64_t> first_end(Calls &calls, const model::PosixTimer &timer, int64_t left, int64_t times) {
    const int64_t interval = reckoned(timer.interval);
    if (times > INT64_MAX / interval)
        return 0;
    auto &batch = calls.batch();
    const uint64_t clock = batch.reserve(sizeof(timespec));
    batch.must("clock_gettime", SYS_clock_gettime, timer.clock, clock);
    TRY(calls.run_only());
    const auto now = batch.output<timespec>(clock);
    batch.clear();
    return std::max<int64_t>(0, now.tv_sec * one_second + now.tv_nsec + left - times * interval);
}

void set_timer(os::Batch &batch, const model::PosixTimer &timer, int64_t first) {
    batch.must("timer_settime", SYS_timer_settime, timer.id, TIMER_ABSTIME,
               batch.put(kernel_timer(reckoned(timer.interval), first)), 0);
}

// How often a timer ran out while its last signal was on its way (timer_getoverrun(2)) is counted by the kernel alone,
// at that signal's delivery (kernel/time/posix-timers.c). So the timer is set as if it had last run out so often ago,
// and its signal is taken; what is left of its time is the same then. False: that did not work, and it is not set.
Result<bool> run_over(Husk &husk, size_t taker, const model::PosixTimer &timer) {
    constexpr int attempts = 10;
    constexpr int64_t usual_pause = one_second / 50,
                      longest_wait = one_second / 10; // between our calls; for the signal
    if (!is_regular(timer))
        return false;
    int64_t left = reckoned(timer.value);
    for (int i = 0; i < attempts; ++i) {
        Calls calls(husk, taker);
        auto &batch = calls.batch();
        const int64_t first = TRY(first_end(calls, timer, left, static_cast<int64_t>(timer.overrun) + 1));
        if (first == 0)
            return false;
        set_timer(batch, timer, first);
        const uint64_t signals = batch.put(1ULL << static_cast<unsigned>(timer.signal - 1));
        const size_t taken =
            batch.may(SYS_rt_sigtimedwait, signals, 0, batch.put(timespec{0, longest_wait}), sizeof(uint64_t));
        const size_t counted = batch.may(SYS_timer_getoverrun, timer.id);
        TRY(calls.run_only());
        if (batch.result(taken) == timer.signal && batch.result(counted) == timer.overrun)
            return true;
        batch.clear(); // too late, it ran out once more in between: that must be longer
        batch.must("timer_settime", SYS_timer_settime, timer.id, 0, batch.put(kernel_timer(0, 0)), 0);
        batch.may(SYS_rt_sigtimedwait, batch.put(1ULL << static_cast<unsigned>(timer.signal - 1)), 0,
                  batch.put(timespec{0, 0}), sizeof(uint64_t));
        TRY(calls.flush());
        left = std::max(left, std::min(reckoned(timer.interval), usual_pause));
    }
    return false;
}

// The signal of a timer that is still waiting, and knows how often the timer has run over since.
const model::Bytes *waiting_signal(const model::Task &task, const model::PosixTimer &timer) {
    const auto of_timer = [&timer](const model::Bytes &info) { return model::timer_of(info) == timer.id; };
    if (const auto info = std::ranges::find_if(task.pending, of_timer); info != task.pending.end())
        return &*info;
    for (const model::Thread &thread : task.threads)
        if (const auto info = std::ranges::find_if(thread.pending, of_timer); info != thread.pending.end())
            return &*info;
    return nullptr;
}

// Lets it run out at once: its signal is queued by the kernel again, which goes on counting.
Result<> run_out(const model::PosixTimer &timer, const model::Bytes &info, Calls &calls) {
    int32_t overrun = 0;
    std::memcpy(&overrun, info.data() + model::overrun_in_signal, sizeof overrun);
    const auto times = static_cast<int64_t>(std::max(overrun, 0)) + 1;
    int64_t first = TRY(first_end(calls, timer, reckoned(timer.value), times));
    if (first == 0)
        first = std::max<int64_t>(1, TRY(first_end(calls, timer, reckoned(timer.value), 1)));
    set_timer(calls.batch(), timer, first);
    return {};
}

// As the task knows that thread of its own.
int own_tid_of(const model::Task &task, int tid) {
    const auto thread = std::ranges::find(task.threads, tid, &model::Thread::tid);
    return thread == task.threads.end() ? tid : numbers_of(tid, thread->inner_tids).front();
}

} // namespace

bool comes_from_timer(const model::Task &task, const model::Bytes &info) {
    const auto id = model::timer_of(info);
    const auto timer = id ? std::ranges::find(task.posix_timers, *id, &model::PosixTimer::id) : task.posix_timers.end();
    if (timer == task.posix_timers.end() || !is_regular(*timer))
        return false;
    int signal = 0;
    std::memcpy(&signal, info.data(), sizeof signal);
    return signal == timer->signal && (timer->notify == SIGEV_SIGNAL || timer->notify == SIGEV_THREAD_ID);
}

namespace {

bool is_waiting(const model::Task &task, const model::PosixTimer &timer) {
    const auto *info = waiting_signal(task, timer);
    return info != nullptr && comes_from_timer(task, *info);
}

// They are not set yet.
Result<> make_timers(const model::Task &task, Calls &calls) {
    if (task.posix_timers.empty())
        return {};
    calls.batch().may(SYS_prctl, kernel::pr_timer_create_restore_ids, kernel::pr_timer_create_restore_ids_on, 0, 0, 0);
    TRY(calls.flush());
    // Without the prctl the kernel counts ids up in each process, and lists the newest first.
    auto timers = task.posix_timers;
    std::ranges::sort(timers, {}, &model::PosixTimer::id);
    int next_id = 0;
    for (const model::PosixTimer &timer : timers) {
        KernelEvent event = {};
        event.value = timer.sigval;
        event.signal = timer.signal;
        event.notify = timer.notify;
        event.tid = own_tid_of(task, timer.notify_tid);
        for (;; ++next_id) {
            TRY(calls.room_for(sizeof event + 16));
            auto &batch = calls.batch();
            const int wanted = timer.id;
            const uint64_t id = batch.put(wanted);
            batch.must(fmt::format("cannot make timer {}", timer.id), SYS_timer_create, timer.clock, batch.put(event),
                       id);
            TRY(calls.run_only()); // the id is looked at before the batch is emptied
            const int got = batch.output<int>(id);
            batch.clear();
            if (got == timer.id)
                break;
            if (got > timer.id || next_id > most_timer_gaps)
                return fail(ENOTSUP, "timer id {} cannot be had again on this kernel (got {}); Linux 6.16 can",
                            timer.id, got);
            batch.must("timer_delete", SYS_timer_delete, got);
        }
    }
    TRY(calls.room_for());
    calls.batch().may(SYS_prctl, kernel::pr_timer_create_restore_ids, kernel::pr_timer_create_restore_ids_off, 0, 0, 0);
    return {};
}

} // namespace

Result<> set_timers(Husk &husk, const model::Task &task, Calls &calls) {
    TRY(make_timers(task, calls));
    // First those whose signals are taken: nobody else's shall be.
    std::set<int> done;
    for (const model::PosixTimer &timer : task.posix_timers) {
        const auto taker = timer.overrun > 0 && !is_waiting(task, timer) ? taker_of(task, timer) : std::nullopt;
        if (!taker)
            continue;
        TRY(calls.flush());
        if (TRY_IN(run_over(husk, *taker, timer), "timer {}", timer.id))
            done.insert(timer.id);
    }
    for (const model::PosixTimer &timer : task.posix_timers) {
        if (done.contains(timer.id))
            continue;
        if (is_waiting(task, timer)) {
            TRY(calls.flush());
            TRY_IN(run_out(timer, *waiting_signal(task, timer), calls), "timer {}", timer.id);
            continue;
        }
        TRY(calls.room_for(sizeof(KernelTimer)));
        const KernelTimer value = {timer.interval.seconds, timer.interval.nanoseconds, timer.value.seconds,
                                   timer.value.nanoseconds};
        calls.batch().must("timer_settime", SYS_timer_settime, timer.id, 0, calls.batch().put(value), 0);
    }
    for (size_t i = 0; i < task.interval_timers.size(); ++i) {
        const model::IntervalTimer &timer = task.interval_timers.at(i);
        if (timer.value_us == 0 && timer.interval_us == 0)
            continue;
        TRY(calls.room_for(sizeof(itimerval)));
        const itimerval value = {{static_cast<time_t>(timer.interval_us / microseconds),
                                  static_cast<suseconds_t>(timer.interval_us % microseconds)},
                                 {static_cast<time_t>(timer.value_us / microseconds),
                                  static_cast<suseconds_t>(timer.value_us % microseconds)}};
        calls.batch().must("setitimer", SYS_setitimer, i, calls.batch().put(value), 0);
    }
    return {};
}

} // namespace abey::rebuild
