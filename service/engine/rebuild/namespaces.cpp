// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/namespaces.h"

#include "engine/machine.h"
#include "engine/os/one_cpu.h"

#include <cerrno>
#include <csignal>
#include <ctime>

#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

constexpr int64_t nanoseconds = 1000000000;
constexpr unsigned long reaper_options =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;

// Written by the worker into the reaper's copy of this page.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): a child is told by its address
volatile int reaper_may_go = 0;

// Of the worker's descriptors only its pidfd is kept, for the roots to inherit.
[[noreturn]] void reap_until_alone(int main_child, int worker_number) {
    const auto number = static_cast<unsigned>(worker_number);
    ::close_range(0, number - 1, 0);
    ::close_range(number + 1, ~0U, 0);
    const timespec moment{0, 1000000};
    while (reaper_may_go == 0)
        ::nanosleep(&moment, nullptr);
    ::close(worker_number);
    // what the tree sees as /proc must be its own pids
    os::use_all_cpus();
    (void)::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    int result = 0;
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, 0);
        if (pid < 0 && errno == ECHILD)
            ::_exit(result);
        if (pid == main_child)
            result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

bool exists(int id) { return id > 0 && ::access(fmt::format("/proc/{}", id).c_str(), F_OK) == 0; }

} // namespace

Result<> continue_clocks(const model::Clocks &saved, const std::string &saved_boot_id) {
    const model::Clocks now = TRY(engine::clocks_of(::getpid()));
    const bool behind =
        now.monotonic < saved.monotonic || now.boottime < saved.boottime || now.monotonic_raw < saved.monotonic_raw;
    if (!behind && TRY(engine::boot_id()) == saved_boot_id)
        return {};
    // offsets count from the initial namespace, whatever namespace we are in ourselves
    const model::Clocks initial = TRY(engine::initial_clocks());
    if (::unshare(CLONE_NEWTIME) < 0)
        return fail(errno,
                    "cannot make a time namespace, which keeps the session's clocks from going back after a reboot");
    const auto line = [](const char *name, int64_t offset) {
        int64_t seconds = offset / nanoseconds;
        int64_t rest = offset % nanoseconds;
        if (rest < 0) { // the kernel wants nanoseconds that are not negative
            rest += nanoseconds;
            --seconds;
        }
        return fmt::format("{} {} {}\n", name, seconds, rest);
    };
    const auto offsets = engine::offsets_to_go_on(saved, initial);
    const Fd file = TRY(open_file("/proc/self/timens_offsets", O_WRONLY));
    TRY_IN(write_all(file, line("monotonic", offsets.monotonic) + line("boottime", offsets.boottime)),
           "cannot set the clocks of the session");
    return {};
}

Result<> end_of_other_clocks() {
    const auto own = open_file("/proc/self/ns/time", O_RDONLY);
    if (!own) // a kernel without time namespaces
        return {};
    if (::setns(own->get(), CLONE_NEWTIME) < 0)
        return fail(errno, "cannot go back to the machine's clocks");
    return {};
}

int taken_id(const model::Tree &tree) {
    for (const model::Task &task : tree.tasks) {
        if (exists(task.pid))
            return task.pid;
        for (const model::Thread &thread : task.threads)
            if (exists(thread.tid))
                return thread.tid;
    }
    return 0;
}

Result<Reaper> Reaper::make(const Workshop &shop, int main_child) {
    if (::unshare(CLONE_NEWNS) < 0 || ::mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
        return fail(errno, "cannot make a mount namespace for the session's /proc");
    clone_args arguments = {};
    arguments.flags = CLONE_NEWPID | CLONE_CLEAR_SIGHAND;
    arguments.exit_signal = SIGCHLD;
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        return fail(errno, "cannot make a pid namespace");
    if (pid == 0)
        reap_until_alone(main_child, shop.worker_number);
    auto tracee = TRY_IN(hold_new(static_cast<int>(pid), reaper_options), "the first process of the new pid namespace");
    Reaper reaper;
    reaper.registers_ = TRY(tracee.registers());
    reaper.husk_ = std::make_unique<Husk>(shop, std::move(tracee), 1);
    return reaper;
}

Reaper::~Reaper() {
    if (!husk_ || husk_->threads().front().tid() == 0)
        return;
    os::Tracee &task = husk_->threads().front();
    (void)::kill(task.tid(), SIGKILL); // and with it all of its namespace
    while (task.tid() != 0)
        if (!task.wait())
            task.forget();
}

Result<> Reaper::let_go() {
    os::Tracee &task = husk_->threads().front();
    const int go = 1;
    TRY(os::write_memory(task.tid(), reinterpret_cast<uint64_t>(&reaper_may_go), std::as_bytes(std::span(&go, 1))));
    TRY(task.park());
    TRY(task.set_signal_mask(0));
    TRY(task.set_registers(registers_));
    return task.detach();
}

} // namespace abey::rebuild
