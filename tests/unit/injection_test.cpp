// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/injection.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <ranges>
#include <thread>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {
namespace {

constexpr unsigned long options = PTRACE_O_TRACESYSGOOD;

// A child that computes with floating point in each thread and counts, and can be asked how far it is.
class Computing {
  public:
    struct Shared {
        volatile uint64_t rounds;
        volatile uint64_t wrong;
    };
    explicit Computing(size_t threads = 1)
        : threads_(threads), shared_(static_cast<Shared *>(
                                 ::mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))),
          pid_(::fork()) {
        if (pid_ == 0) {
            for (size_t other = 1; other < threads; ++other)
                std::thread(compute, std::ref(shared_[other])).detach();
            compute(shared_[0]);
        }
    }
    ~Computing() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, __WALL);
        ::munmap(shared_, size());
    }
    Computing(const Computing &) = delete;
    Computing &operator=(const Computing &) = delete;
    [[nodiscard]] int pid() const { return pid_; }
    // It runs, and computes correctly.
    void expect_alive() const {
        std::vector<uint64_t> wanted;
        wanted.reserve(threads_);
        for (size_t thread = 0; thread < threads_; ++thread)
            wanted.push_back(shared_[thread].rounds + 100);
        const auto computes = [&](size_t thread) { return shared_[thread].rounds >= wanted[thread]; };
        const auto threads = std::views::iota(0UL, threads_);
        for (int i = 0; i < 5000 && !std::ranges::all_of(threads, computes); ++i)
            ::usleep(1000);
        for (size_t thread = 0; thread < threads_; ++thread) {
            EXPECT_TRUE(computes(thread)) << "thread " << thread;
            EXPECT_EQ(shared_[thread].wrong, 0U) << "thread " << thread;
        }
        EXPECT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0);
    }

  private:
    [[nodiscard]] size_t size() const { return threads_ * sizeof(Shared); }
    [[noreturn]] static void compute(Shared &shared) {
        for (;;) {
            double sum = 1.0;
            for (int i = 0; i < 1000; ++i)
                sum = sum * 1.0000001 + 0.5;
            static const double expected = sum;
            if (sum != expected)
                shared.wrong = shared.wrong + 1;
            shared.rounds = shared.rounds + 1;
        }
    }

    size_t threads_;
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

// Each thread of the process tells who it is, several at a time.
Result<> ask_threads(int pid, std::map<int, long> &answers) {
    std::vector<Tracee> threads;
    std::vector<int> tids;
    for (const auto &entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid)))
        tids.push_back(std::stoi(entry.path().filename()));
    std::ranges::sort(tids);
    for (const int tid : tids) {
        threads.push_back(TRY(Tracee::seize(tid, options)));
        TRY(threads.back().settle());
    }
    Gadgets gadgets;
    const auto status = TRY(read_status(pid));
    const auto mappings = TRY(read_smaps(pid));
    auto injection = TRY(Injection::enter(threads.front(), status, mappings, gadgets));
    TRY(injection.make_room(threads.size() - 1));
    EXPECT_GT(injection.at_a_time(), 1U);
    for (size_t first = 1; first < threads.size(); first += injection.at_a_time()) {
        std::vector<Injection::Work> works;
        for (size_t i = 0; i < injection.at_a_time() && first + i < threads.size(); ++i) {
            works.push_back({&threads[first + i], threads[first + i].tid(), injection.batch(i)});
            works.back().batch.must("gettid", SYS_gettid);
        }
        TRY(injection.run_all(works));
        for (const auto &work : works)
            answers[work.own_tid] = work.batch.result(0);
    }
    return injection.leave();
}

TEST(Injection, ThreadsWorkSeveralAtATime) {
    const Computing task(12);
    task.expect_alive();
    const auto maps = read_file(fmt::format("/proc/{}/maps", task.pid()));
    std::map<int, long> answers;
    const auto result = ask_threads(task.pid(), answers);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(answers.size(), 11U);
    for (const auto &[tid, answer] : answers)
        EXPECT_EQ(answer, tid);
    task.expect_alive();
    EXPECT_EQ(maps.value(), read_file(fmt::format("/proc/{}/maps", task.pid())).value());
}

TEST(Injection, ThreadsHealWhenTheTracerIsKilled) {
    const Computing task(6);
    task.expect_alive();
    for (int i = 0; i < 25; ++i) {
        const int tracer = ::fork();
        if (tracer == 0) {
            std::map<int, long> answers;
            for (;;)
                (void)ask_threads(task.pid(), answers);
        }
        ::usleep(static_cast<useconds_t>(1000 + (i * 137) % 9000));
        ::kill(tracer, SIGKILL);
        ::waitpid(tracer, nullptr, 0);
        ASSERT_EQ(::waitpid(task.pid(), nullptr, WNOHANG), 0) << "killed in round " << i;
        task.expect_alive();
    }
}

// One of them cannot do what it must: the others are not left where they were.
TEST(Injection, WhenOneThreadFailsAllArePutBack) {
    const Computing task(4);
    task.expect_alive();
    {
        std::vector<Tracee> threads;
        threads.push_back(Tracee::seize(task.pid(), options).value());
        for (const auto &entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", task.pid())))
            if (const int tid = std::stoi(entry.path().filename()); tid != task.pid())
                threads.push_back(Tracee::seize(tid, options).value());
        ASSERT_EQ(threads.size(), 4U);
        for (Tracee &thread : threads)
            ASSERT_TRUE(thread.settle());
        Gadgets gadgets;
        auto injection =
            Injection::enter(threads.front(), read_status(task.pid()).value(), read_smaps(task.pid()).value(), gadgets);
        ASSERT_TRUE(injection) << injection.error().message();
        ASSERT_TRUE(injection->make_room(3));
        std::vector<Injection::Work> works;
        for (size_t i = 0; i < 3; ++i) {
            works.push_back({&threads[i + 1], threads[i + 1].tid(), injection->batch(i)});
            works.back().batch.must("cannot close what is not open", SYS_close, i == 0 ? 12345 : 0);
        }
        const auto result = injection->run_all(works);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().message(), "cannot close what is not open: Bad file descriptor");
        EXPECT_TRUE(injection->leave());
    }
    task.expect_alive();
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
