// SPDX-License-Identifier: LGPL-2.1-or-later
//
// One thread of another process, held by ptrace(2). All calls must come from the thread of ours that seized it.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <linux/filter.h>
#include <sys/user.h>

namespace abey::os {

// How a wait for a tracee ended.
struct Stop {
    int signal = 0;       // the signal of the stop; 0 when the task is gone
    int event = 0;        // PTRACE_EVENT_*, 0 for others
    bool syscall = false; // entry or exit of a system call (PTRACE_O_TRACESYSGOOD)
    bool gone = false;
    int status = 0; // as wait(2) gave it
};

// Seized, and stopped whenever we are not in run_*(). Destruction detaches: the task goes on where its registers say.
// ESRCH means that the task died (SIGKILL reaches it also while it is stopped).
class Tracee {
  public:
    // PTRACE_SEIZE with these options, then PTRACE_INTERRUPT; the stop is awaited by settle().
    static Result<Tracee> seize(int tid, unsigned long options);
    // A child that PTRACE_O_TRACECLONE and its like attached for us.
    static Tracee adopt(int tid) { return Tracee(tid); }

    Tracee(Tracee &&other) noexcept;
    Tracee &operator=(Tracee &&other) noexcept;
    Tracee(const Tracee &) = delete;
    Tracee &operator=(const Tracee &) = delete;
    ~Tracee();

    [[nodiscard]] int tid() const { return tid_; }

    // Waits for the first stop after seize() or adopt(). Signals that arrive meanwhile are put back for later delivery.
    // ETIMEDOUT when the task does not stop (it waits for its vfork child, or for a device that hangs); 0 for no limit.
    Result<Stop> settle(int timeout_ms = 5000);
    // The stop was a group-stop (job control): the task is stopped by this signal also without us. 0: it is not.
    [[nodiscard]] int group_stop() const { return group_stop_; }

    Result<user_regs_struct> registers() const;
    Result<> set_registers(const user_regs_struct &registers);
    Result<std::string> xstate() const; // NT_X86_XSTATE: the XSAVE area, standard format
    Result<> set_xstate(const std::string &xstate);
    Result<uint64_t> signal_mask() const;
    Result<> set_signal_mask(uint64_t mask);
    // siginfo_t of each pending signal, oldest first (PTRACE_PEEKSIGINFO); shared: those of the whole process.
    Result<std::vector<std::string>> pending(bool shared) const;
    struct Rseq {
        uint64_t address = 0;
        uint32_t size = 0, signature = 0, flags = 0;
    };
    // PTRACE_GET_RSEQ_CONFIGURATION (Linux 5.13); address 0: not registered
    Result<Rseq> rseq() const;
    Result<unsigned long> event_message() const;
    // False once it has been killed: a stopped task lets itself be asked, one on its way to its end does not
    // (ptrace(2), "Death under ptrace").
    [[nodiscard]] bool stands() const;
    // Whether it has its system calls handed to itself (PR_SET_SYSCALL_USER_DISPATCH of prctl(2)); Linux 6.4 or newer
    // tells.
    [[nodiscard]] bool has_syscall_dispatch() const;

    // From now on the thread's seccomp filters do not apply to it, until it is let go (PTRACE_O_SUSPEND_SECCOMP, Linux
    // 4.3); `options`: those that it was seized with. EPERM without CAP_SYS_ADMIN, or when the caller has a filter.
    Result<> suspend_seccomp(unsigned long options);
    struct SeccompFilter {
        std::vector<sock_filter> program;
        bool log = false; // SECCOMP_FILTER_FLAG_LOG
    };
    // PTRACE_SECCOMP_GET_FILTER (Linux 4.4). The oldest is number 0 (ptrace(2) has it the other way round; tried on
    // Linux 6.18); nothing behind the last.
    Result<std::optional<SeccompFilter>> seccomp_filter(size_t index) const;

    // Lets the task run (PTRACE_CONT / PTRACE_SYSCALL) and delivers `signal`; returns at once.
    Result<> go_on(int signal = 0);
    Result<> go_on_to_syscall();
    Result<> interrupt();
    Result<Stop> wait(int timeout_ms = 0); // 0: as long as it takes
    // Of a task that ends: it stays ours, and its parent does not see its end, until we have waited for it.
    void wait_for_end();
    // Each wait looks again and again before it sleeps: for a task on another CPU, which stops sooner than we would be
    // woken.
    void watch_closely() { closely_ = true; }

    // From wherever the task stands in the kernel to a PTRACE_EVENT_STOP, where set registers take effect as after a
    // signal (interrupted system calls are restarted); no instruction of the task runs. Signals must be blocked.
    Result<> park();
    // park() in two steps, to have several threads on their way at once.
    Result<> send_to_park();
    Result<> wait_until_parked();

    // PTRACE_DETACH.
    Result<> detach();
    // Forgets the task without detaching: it is dead, or will be with us.
    void forget() { tid_ = 0; }

  private:
    explicit Tracee(int tid) : tid_(tid) {}
    int tid_ = 0;
    int group_stop_ = 0;
    bool closely_ = false;
};

} // namespace abey::os
