// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/tracee.h"

#include "engine/os/kernel.h"
#include "engine/os/procfs.h"
#include "engine/os/xstate.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include <elf.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {

namespace {

// glibc's ptrace wrapper declares an enum of its own for requests; the raw call takes linux/ptrace.h's numbers.
long trace(int request, int tid, unsigned long address, void *data) {
    return ::syscall(SYS_ptrace, request, tid, address, data);
}

void *number(unsigned long value) {
    return reinterpret_cast<void *>(value); // NOLINT(performance-no-int-to-ptr): ptrace takes numbers as pointers
}

constexpr int poll_us = 20;
constexpr int quick_looks = 50;
constexpr int end_timeout_ms = 1000;
constexpr int slow_poll_us = 1000; // who has not stopped by then waits for a CPU: it is not ours to use up
constexpr int close_looks = 200;   // some 50 microseconds
constexpr size_t largest_xstate = 64UL << 10U;

// The first thread of a process has ended while others run: the kernel tells its tracer only when they have ended, too.
bool is_ended_leader(int tid) {
    const auto stat = read_stat(tid, tid);
    const auto status =
        stat && stat->ended() && stat->threads > 1 ? read_status(tid) : Result<ProcStatus>(ProcStatus());
    return status && !status->all_pids.empty() && status->all_pids.front() == tid;
}

} // namespace

Result<Tracee> Tracee::seize(int tid, unsigned long options) {
    if (trace(PTRACE_SEIZE, tid, 0, number(options)) < 0)
        return fail(errno, "cannot seize thread {}", tid);
    Tracee tracee(tid);
    if (auto interrupted = tracee.interrupt(); !interrupted) {
        tracee.wait_for_end(); // it was killed in between
        return std::unexpected(std::move(interrupted).error());
    }
    return tracee;
}

Tracee::Tracee(Tracee &&other) noexcept
    : tid_(std::exchange(other.tid_, 0)), group_stop_(std::exchange(other.group_stop_, 0)), closely_(other.closely_) {}

Tracee &Tracee::operator=(Tracee &&other) noexcept {
    if (this != &other) {
        (void)detach();
        tid_ = std::exchange(other.tid_, 0);
        group_stop_ = std::exchange(other.group_stop_, 0);
        closely_ = other.closely_;
    }
    return *this;
}

Tracee::~Tracee() { (void)detach(); }

Result<> Tracee::detach() {
    if (tid_ == 0)
        return {};
    const int tid = std::exchange(tid_, 0);
    if (trace(PTRACE_DETACH, tid, 0, nullptr) < 0 && errno != ESRCH)
        return fail(errno, "cannot detach from thread {}", tid);
    return {};
}

Result<Stop> Tracee::wait(int timeout_ms) {
    Stop stop;
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    int slept = 0;
    for (int looks = closely_ ? close_looks : 0;; --looks) {
        // waitpid has no time limit of its own: look, and sleep shortly, when one is wanted
        const int got = ::waitpid(tid_, &stop.status, timeout_ms == 0 && looks <= 0 ? __WALL : __WALL | WNOHANG);
        if (got == tid_)
            break;
        if (got == 0) {
            if (looks > 0)
                continue;
            if (std::chrono::steady_clock::now() > until)
                return fail(ETIMEDOUT, "thread {} does not stop", tid_);
            const bool is_slow = ++slept > quick_looks;
            if (is_slow && is_ended_leader(tid_))
                return fail(ESRCH, "thread {} has ended", tid_);
            ::usleep(is_slow ? slow_poll_us : poll_us);
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        return fail(errno, "cannot wait for thread {}", tid_);
    }
    if (!WIFSTOPPED(stop.status)) {
        stop.gone = true;
        tid_ = 0;
        return stop;
    }
    stop.event = stop.status >> 16;
    stop.signal = WSTOPSIG(stop.status);
    if (stop.event == 0 && stop.signal == (SIGTRAP | 0x80)) {
        stop.syscall = true;
        stop.signal = SIGTRAP;
    }
    return stop;
}

void Tracee::wait_for_end() {
    if (tid_ != 0 && !wait(end_timeout_ms))
        forget();
}

Result<Stop> Tracee::settle(int timeout_ms) {
    const int tid = tid_;
    for (;;) {
        const Stop stop = TRY(wait(timeout_ms));
        if (stop.gone)
            return fail(ESRCH, "thread {} ended", tid);
        if (stop.event == PTRACE_EVENT_STOP) {
            // a group-stop shows the signal that caused it, an interrupt shows SIGTRAP (ptrace(2))
            group_stop_ = stop.signal == SIGTRAP ? 0 : stop.signal;
            return stop;
        }
        // a signal was on its way when we came: let it be delivered, the interrupt is still pending
        TRY(go_on(stop.event == 0 && !stop.syscall ? stop.signal : 0));
    }
}

Result<user_regs_struct> Tracee::registers() const {
    user_regs_struct registers = {};
    iovec area{&registers, sizeof registers};
    if (trace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, &area) < 0)
        return fail(errno, "cannot read the registers of thread {}", tid_);
    if (area.iov_len != sizeof registers)
        return fail(ENOTSUP, "thread {} runs 32-bit code, which cannot be checkpointed yet", tid_);
    return registers;
}

Result<> Tracee::set_registers(const user_regs_struct &registers) {
    iovec area{const_cast<user_regs_struct *>(&registers), sizeof registers}; // NOLINT: only read
    if (trace(PTRACE_SETREGSET, tid_, NT_PRSTATUS, &area) < 0)
        return fail(errno, "cannot set the registers of thread {}", tid_);
    return {};
}

Result<std::string> Tracee::xstate() const {
    std::array<char, largest_xstate> state; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by the kernel
    iovec area{state.data(), state.size()};
    if (trace(PTRACE_GETREGSET, tid_, NT_X86_XSTATE, &area) < 0)
        return fail(errno, "cannot read the extended registers of thread {}", tid_);
    return std::string(state.data(), area.iov_len); // of thousands of threads: no larger than needed
}

Result<> Tracee::set_xstate(const std::string &xstate) {
    // The kernel takes areas of the size that it has itself (xstateregs_set of arch/x86/kernel/fpu/regset.c).
    std::string fitting = TRY_IN(fit_xstate(xstate), "thread {}", tid_);
    iovec area{fitting.data(), fitting.size()};
    if (trace(PTRACE_SETREGSET, tid_, NT_X86_XSTATE, &area) < 0)
        return fail(errno, "cannot set the extended registers ({} bytes) of thread {}", xstate.size(), tid_);
    return {};
}

Result<uint64_t> Tracee::signal_mask() const {
    uint64_t mask = 0;
    if (trace(PTRACE_GETSIGMASK, tid_, sizeof mask, &mask) < 0)
        return fail(errno, "cannot read the signal mask of thread {}", tid_);
    return mask;
}

Result<> Tracee::set_signal_mask(uint64_t mask) {
    if (trace(PTRACE_SETSIGMASK, tid_, sizeof mask, &mask) < 0)
        return fail(errno, "cannot set the signal mask of thread {}", tid_);
    return {};
}

Result<std::vector<std::string>> Tracee::pending(bool shared) const {
    std::vector<std::string> all;
    std::array<siginfo_t, 32> some; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by ptrace
    for (;;) {
        __ptrace_peeksiginfo_args arguments = {};
        arguments.off = all.size();
        arguments.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0;
        arguments.nr = static_cast<int>(some.size());
        const long n = ::syscall(SYS_ptrace, PTRACE_PEEKSIGINFO, tid_, &arguments, some.data());
        if (n < 0)
            return fail(errno, "cannot read the pending signals of thread {}", tid_);
        for (long i = 0; i < n; ++i)
            all.emplace_back(reinterpret_cast<const char *>(&some.at(static_cast<size_t>(i))), sizeof(siginfo_t));
        if (static_cast<size_t>(n) < some.size())
            return all;
    }
}

Result<Tracee::Rseq> Tracee::rseq() const {
    kernel::RseqConfiguration configuration = {};
    if (trace(kernel::ptrace_get_rseq_configuration, tid_, sizeof configuration, &configuration) < 0)
        return fail(errno, "cannot read the rseq registration of thread {}", tid_);
    return Rseq{configuration.address, configuration.size, configuration.signature, configuration.flags};
}

bool Tracee::has_syscall_dispatch() const {
    kernel::SyscallUserDispatch own = {};
    return trace(kernel::ptrace_get_syscall_user_dispatch, tid_, sizeof own, &own) == 0 && own.mode != 0;
}

Result<unsigned long> Tracee::event_message() const {
    unsigned long message = 0;
    if (trace(PTRACE_GETEVENTMSG, tid_, 0, &message) < 0)
        return fail(errno, "cannot read the event of thread {}", tid_);
    return message;
}

bool Tracee::stands() const {
    const auto told = event_message();
    return told || told.error().code() != ESRCH;
}

Result<> Tracee::suspend_seccomp(unsigned long options) {
    if (trace(PTRACE_SETOPTIONS, tid_, 0, number(options | PTRACE_O_SUSPEND_SECCOMP)) < 0)
        return fail(errno, "cannot suspend the seccomp filter of thread {}", tid_);
    return {};
}

Result<std::optional<Tracee::SeccompFilter>> Tracee::seccomp_filter(size_t index) const {
    const long length = trace(PTRACE_SECCOMP_GET_FILTER, tid_, index, nullptr);
    if (length < 0 && errno == ENOENT)
        return std::nullopt;
    if (length < 0)
        return fail(errno, "cannot read the seccomp filter of thread {}", tid_);
    SeccompFilter filter;
    filter.program.resize(static_cast<size_t>(length));
    if (trace(PTRACE_SECCOMP_GET_FILTER, tid_, index, filter.program.data()) != length)
        return fail(errno, "cannot read the seccomp filter of thread {}", tid_);
    kernel::SeccompMetadata metadata = {index, 0};
    if (trace(kernel::ptrace_seccomp_get_metadata, tid_, sizeof metadata, &metadata) < 0)
        return fail(errno, "cannot read the flags of the seccomp filter of thread {}", tid_);
    filter.log = (metadata.flags & SECCOMP_FILTER_FLAG_LOG) != 0;
    return filter;
}

Result<> Tracee::go_on(int signal) {
    if (trace(PTRACE_CONT, tid_, 0, number(static_cast<unsigned long>(signal))) < 0)
        return fail(errno, "cannot let thread {} run", tid_);
    return {};
}

Result<> Tracee::go_on_to_syscall() {
    if (trace(PTRACE_SYSCALL, tid_, 0, nullptr) < 0)
        return fail(errno, "cannot let thread {} run to a system call", tid_);
    return {};
}

Result<> Tracee::interrupt() {
    if (trace(PTRACE_INTERRUPT, tid_, 0, nullptr) < 0)
        return fail(errno, "cannot interrupt thread {}", tid_);
    return {};
}

Result<> Tracee::park() {
    TRY(send_to_park());
    return wait_until_parked();
}

Result<> Tracee::send_to_park() {
    TRY(interrupt());
    return go_on();
}

Result<> Tracee::wait_until_parked() {
    const int tid = tid_;
    const Stop stop = TRY(wait());
    if (stop.gone)
        return fail(ESRCH, "thread {} ended", tid);
    if (stop.event != PTRACE_EVENT_STOP)
        return fail(0, "thread {} stopped by signal {} where an interrupt was expected", tid, stop.signal);
    return {};
}

} // namespace abey::os
