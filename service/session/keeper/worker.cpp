// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/worker.h"

#include "job/job.h"
#include "session/keeper/message.h"
#include "session/terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace abey::session {
namespace {

using nlohmann::json;

// A stop of the unit, or its taking too long; a cancel.
constexpr std::array stops = {SIGTERM, job::cancel_signal};

std::unexpected<Error> stopped() { return fail(ECANCELED, "the resume was stopped"); }

// The roots of a session are few; a packet must go through a unix socket at once.
constexpr size_t report_limit = 128U << 10U;

// What the caller waits for while the worker works.
struct Line {
    Fd channel;
    Fd worker; // pidfd
    Fd cancel; // signalfd
};

// Waits for a message or the worker's end; what it started may hold the channel longer than it lives.
Result<> wait_for_message(const Line &line) {
    std::array<pollfd, 3> any = {{{.fd = line.channel.get(), .events = POLLIN, .revents = 0},
                                  {.fd = line.worker.get(), .events = POLLIN, .revents = 0},
                                  {.fd = line.cancel.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(any.data(), any.size(), -1) < 0) {
        if (errno != EINTR)
            return fail(errno, "cannot wait for the worker");
    }
    // A report that has been made is read: whoever asked for it looks whether it comes too late.
    if (any[2].revents != 0 && any[0].revents == 0)
        return stopped();
    return {};
}

Result<Message> next_message(const Line &line) {
    TRY(wait_for_message(line));
    return TRY_IN(receive_message(line.channel, report_limit), "the worker's report");
}

void send_report(const Fd &channel, const resume::Report &report) {
    for (const resume::TerminalMaster &terminal : report.terminals) {
        if (!send_message(channel, {{"kind", "terminal"}, {"index", terminal.index}, {"old_index", terminal.old_index}},
                          terminal.master.get()))
            return;
    }
    const resume::Figures &figures = report.figures;
    send_message(channel, {{"kind", "report"},
                           {"roots", report.roots},
                           {"reaper", report.reaper},
                           {"displaced_home", report.displaced_home},
                           {"private_home", report.private_home},
                           {"left_behind", report.left_behind},
                           {"forking_time", figures.forking_time},
                           {"restore_time", figures.restore_time},
                           {"pages_restored", figures.pages_restored},
                           {"total_time", figures.total_time}});
}

[[noreturn]] void be_worker(const Work &work, const Fd &channel, pid_t parent) {
    // The keeper's own descriptors are none of the worker's business, and must not get into what it starts.
    if (channel.get() > 3)
        ::close_range(3, static_cast<unsigned>(channel.get()) - 1, 0);
    ::close_range(static_cast<unsigned>(channel.get()) + 1, ~0U, 0);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL); // NOLINT(cert-err33-c): cannot fail
    // A session without its keeper could be neither seen nor ended.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent)
        ::_exit(1);
    try {
        const auto report = work([&](const resume::Progress &progress) {
            send_message(channel, {{"kind", "progress"}, {"phase", progress.phase}, {"percent", progress.percent}});
        });
        if (report)
            send_report(channel, *report);
        else
            send_message(channel, {{"kind", "error"}, {"message", report.error().message()}});
    } catch (const std::exception &error) { // out of memory
        send_message(channel, {{"kind", "error"}, {"message", error.what()}});
    }
    ::_exit(0);
}

Result<resume::Report> listen_to_worker(const Line &line, const ReportProgress &progress) {
    resume::Report report;
    for (;;) {
        Message message = TRY(next_message(line));
        if (message.body.is_null())
            return fail(0, "the worker ended without a report");
        try {
            const auto kind = message.body.at("kind").get<std::string>();
            if (kind == "progress") {
                progress({.phase = message.body.at("phase").get<std::string>(),
                          .percent = message.body.at("percent").get<int>()});
            } else if (kind == "terminal" && message.fd && report.terminals.size() < terminal_limit) {
                report.terminals.push_back({.index = message.body.at("index").get<uint32_t>(),
                                            .old_index = message.body.at("old_index").get<uint32_t>(),
                                            .master = std::move(message.fd)});
            } else if (kind == "report") {
                report.roots = message.body.at("roots").get<std::vector<int>>();
                report.reaper = message.body.at("reaper").get<int>();
                report.displaced_home = message.body.at("displaced_home").get<std::string>();
                report.private_home = message.body.at("private_home").get<std::string>();
                report.left_behind = message.body.at("left_behind").get<std::string>();
                report.figures.forking_time = message.body.at("forking_time").get<uint64_t>();
                report.figures.restore_time = message.body.at("restore_time").get<uint64_t>();
                report.figures.pages_restored = message.body.at("pages_restored").get<uint64_t>();
                report.figures.total_time = message.body.at("total_time").get<uint64_t>();
                return report;
            } else if (kind == "error") {
                return fail(0, "{}", message.body.at("message").get<std::string>());
            } else {
                return fail(EBADMSG, "the worker's report cannot be read");
            }
        } catch (const json::exception &error) {
            return fail(EBADMSG, "the worker's report cannot be read: {}", error.what());
        }
    }
}

} // namespace

void end_children() {
    for (;;) {
        const auto children = read_file(fmt::format("/proc/self/task/{}/children", ::gettid()));
        std::string_view rest = children ? *children : std::string_view();
        while (!rest.empty()) {
            const size_t end = std::min(rest.find(' '), rest.size());
            const int child = std::atoi(std::string(rest.substr(0, end)).c_str()); // NOLINT(cert-err34-c): the kernel's
            if (child > 0)
                ::kill(child, SIGKILL);
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        // The children of those become ours: again, until there is none.
        if (::waitpid(-1, nullptr, __WALL) < 0 && errno == ECHILD)
            return;
    }
}

Result<> check_for_stop() {
    sigset_t pending;
    ::sigemptyset(&pending);
    ::sigpending(&pending);
    if (std::ranges::any_of(stops, [&](int signal) { return ::sigismember(&pending, signal) == 1; }))
        return stopped();
    return {};
}

Result<resume::Report> in_worker(const Work &work, const ReportProgress &progress) {
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return fail(errno, "cannot become a child subreaper");
    std::array<int, 2> pair = {};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) < 0)
        return fail(errno, "cannot make a channel to the worker");
    Line line = {.channel = Fd(pair[0]), .worker = Fd(), .cancel = Fd()};
    Fd theirs(pair[1]);
    sigset_t any;
    ::sigemptyset(&any);
    for (const int signal : stops)
        ::sigaddset(&any, signal);
    line.cancel = Fd(::signalfd(-1, &any, SFD_CLOEXEC));
    if (!line.cancel)
        return fail(errno, "cannot wait for signals");
    const pid_t parent = ::getpid();
    const pid_t worker = ::fork();
    if (worker < 0)
        return fail(errno, "cannot start the worker");
    if (worker == 0)
        be_worker(work, theirs, parent);
    theirs.reset();

    line.worker = Fd(static_cast<int>(::syscall(SYS_pidfd_open, worker, 0)));
    Result<resume::Report> report = fail(errno, "cannot watch the worker");
    if (line.worker)
        report = listen_to_worker(line, progress);
    // A worker that says what we do not understand, or cannot be heard, must not go on.
    if (!report && report.error().code() != 0)
        ::kill(worker, SIGKILL);
    int status = 0;
    while (::waitpid(worker, &status, 0) < 0 && errno == EINTR) {
    }
    if (report)
        return report;
    if (report.error().code() == 0 && WIFSIGNALED(status))
        report = fail(0, "the worker was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
    end_children(); // a half-made session is worse than none
    return report;
}

} // namespace abey::session
