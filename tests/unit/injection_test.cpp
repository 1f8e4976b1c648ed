// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/injection.h"

#include <csignal>
#include <cstdlib>
#include <optional>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {
namespace {

constexpr unsigned long options = PTRACE_O_TRACESYSGOOD;

// A child that computes with floating point and counts, and can be asked how far it is.
class Computing {
  public:
    struct Shared {
        volatile uint64_t rounds;
        volatile uint64_t wrong;
    };
    Computing()
        : shared_(static_cast<Shared *>(
              ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
        pid_ = ::fork();
        if (pid_ == 0) {
            for (;;) {
                volatile double sum = 0;
                double local = 1.0;
                for (int i = 0; i < 1000; ++i)
                    local = local * 1.0000001 + 0.5;
                sum = local;
                static const double expected = sum;
                if (sum != expected)
                    shared_->wrong = shared_->wrong + 1;
                shared_->rounds = shared_->rounds + 1;
            }
        }
    }
    ~Computing() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, __WALL);
        ::munmap(shared_, sizeof(Shared));
    }
    Computing(const Computing &) = delete;
    Computing &operator=(const Computing &) = delete;
    [[nodiscard]] int pid() const { return pid_; }
    // It runs, and computes correctly.
    void expect_alive() const {
        const uint64_t before = shared_->rounds;
        for (int i = 0; i < 2000 && shared_->rounds < before + 100; ++i)
            ::usleep(1000);
        EXPECT_GE(shared_->rounds, before + 100);
        EXPECT_EQ(shared_->wrong, 0U);
        EXPECT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0);
    }

  private:
    Shared *shared_;
    int pid_ = 0;
};

Result<> ask_for_pid(int pid, long &answer) {
    Tracee task = TRY(Tracee::seize(pid, options));
    TRY(task.settle());
    const auto status = TRY(read_status(pid));
    const auto mappings = TRY(read_smaps(pid));
    Gadgets gadgets;
    auto injection = TRY(Injection::enter(task, status, mappings, gadgets));
    auto batch = injection.batch();
    const size_t call = batch.must("getpid", SYS_getpid);
    TRY(injection.run(task, status.own_tid, batch));
    answer = batch.result(call);
    return injection.leave();
}

TEST(Injection, CallsAreMadeAndTheTaskGoesOn) {
    const Computing task;
    task.expect_alive();
    const auto maps = read_file(fmt::format("/proc/{}/maps", task.pid()));
    for (int i = 0; i < 20; ++i) {
        long answer = 0;
        const auto result = ask_for_pid(task.pid(), answer);
        ASSERT_TRUE(result) << result.error().message();
        EXPECT_EQ(answer, task.pid());
        task.expect_alive();
    }
    EXPECT_EQ(maps.value(), read_file(fmt::format("/proc/{}/maps", task.pid())).value());
}

// The tracer dies by SIGKILL at random moments of the injection: the task computes on.
TEST(Injection, TaskHealsWhenTheTracerIsKilled) {
    const Computing task;
    for (int i = 0; i < 200; ++i) {
        const int tracer = ::fork();
        if (tracer == 0) {
            long answer = 0;
            for (;;)
                (void)ask_for_pid(task.pid(), answer);
        }
        ::usleep(static_cast<useconds_t>(500 + (i * 37) % 3000));
        ::kill(tracer, SIGKILL);
        ::waitpid(tracer, nullptr, 0);
        ASSERT_EQ(::waitpid(task.pid(), nullptr, WNOHANG), 0) << "killed in round " << i;
        // one death at a time: a tracer that comes while the task still heals would find our frame, not the task
        task.expect_alive();
    }
    task.expect_alive();
    EXPECT_EQ(read_status(task.pid())->blocked, 0U);
}

// Whoever may signal the task can send the very signal that ends a batch, too.
TEST(Injection, AForeignSignalDoesNotEndTheBatch) {
    const Computing task;
    std::optional tracee = Tracee::seize(task.pid(), options).value();
    ASSERT_TRUE(tracee->settle());
    Gadgets gadgets;
    auto injection =
        Injection::enter(*tracee, read_status(task.pid()).value(), read_smaps(task.pid()).value(), gadgets);
    ASSERT_TRUE(injection) << injection.error().message();
    const int sender = ::fork();
    if (sender == 0)
        for (;;)
            for (const int signal : {SIGURG, SIGCHLD, SIGWINCH})
                ::kill(task.pid(), signal);
    for (int round = 0; round < 50; ++round) {
        auto batch = injection->batch();
        for (int i = 0; i < 50; ++i)
            batch.must("getpid", SYS_getpid);
        const auto result = injection->run(*tracee, task.pid(), batch);
        EXPECT_TRUE(result) << result.error().message();
        for (size_t i = 0; i < 50; ++i)
            EXPECT_EQ(batch.result(i), task.pid()) << "call " << i << " in round " << round;
    }
    ::kill(sender, SIGKILL);
    ::waitpid(sender, nullptr, 0);
    EXPECT_TRUE(injection->leave());
    tracee.reset();
    task.expect_alive();
}

TEST(Injection, AFailedMustNamesItself) {
    const Computing task;
    auto tracee = Tracee::seize(task.pid(), options).value();
    ASSERT_TRUE(tracee.settle());
    Gadgets gadgets;
    auto injection = Injection::enter(tracee, read_status(task.pid()).value(), read_smaps(task.pid()).value(), gadgets);
    ASSERT_TRUE(injection);
    auto batch = injection->batch();
    batch.may(SYS_close, -1);
    batch.must("cannot close what is not open", SYS_close, 12345);
    const size_t after = batch.may(SYS_getpid);
    const auto result = injection->run(tracee, task.pid(), batch);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), EBADF);
    EXPECT_TRUE(result.error().message().starts_with("cannot close what is not open"));
    EXPECT_EQ(batch.result(after), 0) << "calls after a failed one are not made";
}

} // namespace
} // namespace abey::os
