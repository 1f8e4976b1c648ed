// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/worker.h"

#include "engine/os/procfs.h"
#include "job/job.h"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <stdexcept>

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

namespace abey::session {
namespace {

constexpr auto nothing = [](const resume::Progress & /*progress*/) {};

// A process that is there until it is killed.
pid_t start_idle_process() {
    const pid_t pid = ::fork();
    if (pid == 0) {
        for (;;)
            ::pause();
    }
    return pid;
}

void expect_no_child() {
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
    EXPECT_EQ(errno, ECHILD);
}

TEST(Worker, HandsOverProcessesAndTerminals) {
    std::vector<std::string> phases;
    auto report = in_worker(
        [](const ReportProgress &progress) -> Result<resume::Report> {
            progress({.phase = "husks", .percent = 10});
            int master = -1;
            int slave = -1;
            if (::openpty(&master, &slave, nullptr, nullptr, nullptr) < 0)
                return fail(errno, "openpty");
            unsigned index = 0;
            ::ioctl(master, TIOCGPTN, &index);
            resume::Report made;
            made.roots = {start_idle_process(), start_idle_process()};
            made.terminals.push_back({.index = index, .old_index = 5, .master = Fd(master)});
            made.displaced_home = "/home/.x/\xff";
            made.figures = {.forking_time = 1, .restore_time = 2, .pages_restored = 3, .total_time = 1ULL << 60U};
            progress({.phase = "release", .percent = 100});
            return made;
        },
        [&](const resume::Progress &progress) {
            phases.push_back(fmt::format("{} {}", progress.phase, progress.percent));
        });
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_EQ(phases, (std::vector<std::string>{"husks 10", "release 100"}));
    EXPECT_EQ(report->figures.pages_restored, 3U);
    EXPECT_EQ(report->figures.total_time, 1ULL << 60U);
    ASSERT_EQ(report->roots.size(), 2U);
    for (const int root : report->roots) {
        const auto process = os::read_stat(root).value();
        EXPECT_EQ(process.parent, ::getpid());
        ::kill(root, SIGKILL);
        EXPECT_EQ(::waitpid(root, nullptr, 0), root);
    }
    ASSERT_EQ(report->terminals.size(), 1U);
    unsigned index = ~0U;
    EXPECT_EQ(::ioctl(report->terminals[0].master.get(), TIOCGPTN, &index), 0);
    EXPECT_EQ(index, report->terminals[0].index);
    EXPECT_EQ(report->terminals[0].old_index, 5U);
    expect_no_child();
}

TEST(Worker, FailureIsToldAndLeavesNobody) {
    auto report = in_worker(
        [](const ReportProgress &) -> Result<resume::Report> {
            start_idle_process();
            return fail(ENOSPC, "no room");
        },
        nothing);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().message(), "no room: No space left on device");
    expect_no_child();
}

TEST(Worker, KilledLeavesNobody) {
    auto report = in_worker(
        [](const ReportProgress &) -> Result<resume::Report> {
            start_idle_process(); // holds the channel
            ::raise(SIGKILL);
            return resume::Report();
        },
        nothing);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().message(), "the worker was killed by signal 9 (Killed)");
    expect_no_child();
}

TEST(Worker, IsStoppedBySigtermAndByACancel) {
    for (const int stop : {SIGTERM, job::cancel_signal}) {
        sigset_t stops;
        ::sigemptyset(&stops);
        ::sigaddset(&stops, stop);
        ::sigprocmask(SIG_BLOCK, &stops, nullptr);
        auto report = in_worker(
            [stop](const ReportProgress &) -> Result<resume::Report> {
                start_idle_process();
                ::kill(::getppid(), stop);
                for (;;)
                    ::pause();
            },
            nothing);
        ASSERT_FALSE(report) << stop;
        EXPECT_EQ(report.error().code(), ECANCELED) << stop;
        expect_no_child();
        int signal = 0;
        EXPECT_EQ(::sigwait(&stops, &signal), 0);
        ::sigprocmask(SIG_UNBLOCK, &stops, nullptr);
    }
}

TEST(Worker, AStopThatComesWithTheReportIsSeen) {
    sigset_t stops;
    ::sigemptyset(&stops);
    ::sigaddset(&stops, SIGTERM);
    ::sigaddset(&stops, job::cancel_signal);
    ::sigprocmask(SIG_BLOCK, &stops, nullptr);
    EXPECT_TRUE(check_for_stop());
    for (const int signal : {SIGTERM, job::cancel_signal}) {
        auto report = in_worker(
            [](const ReportProgress &) -> Result<resume::Report> {
                start_idle_process();
                return resume::Report();
            },
            nothing);
        ASSERT_TRUE(report) << report.error().message();
        ::kill(::getpid(), signal);
        const auto stopped = check_for_stop();
        ASSERT_FALSE(stopped) << signal;
        EXPECT_EQ(stopped.error().code(), ECANCELED);
        end_children();
        int seen = 0;
        EXPECT_EQ(::sigwait(&stops, &seen), 0);
        EXPECT_EQ(seen, signal);
        EXPECT_TRUE(check_for_stop());
    }
    ::sigprocmask(SIG_UNBLOCK, &stops, nullptr);
}

TEST(Worker, EndsWithoutAWord) {
    auto report = in_worker([](const ReportProgress &) -> Result<resume::Report> { ::_exit(0); }, nothing);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().message(), "the worker ended without a report");
}

TEST(Worker, ExceptionIsAnError) {
    auto report = in_worker(
        [](const ReportProgress &) -> Result<resume::Report> { throw std::runtime_error("out of luck"); }, nothing);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().message(), "out of luck");
}

TEST(Worker, HasNoDescriptorOfOurs) {
    const Fd ours = open_file("/dev/null", O_RDONLY).value();
    const Fd high(::fcntl(ours.get(), F_DUPFD_CLOEXEC, 900));
    auto report = in_worker(
        [](const ReportProgress &) -> Result<resume::Report> {
            size_t open = 0;
            for (int fd = 3; fd < 1024; ++fd)
                open += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
            return fail(0, "{} open", open);
        },
        nothing);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().message(), "1 open"); // the channel
}

} // namespace
} // namespace abey::session
