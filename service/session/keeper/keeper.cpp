// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/keeper.h"

#include "engine/os/fault_point.h"
#include "engine/os/user.h"
#include "job/job.h"
#include "session/connection.h"
#include "session/keeper/pam.h"
#include "session/keeper/terminal_host.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <map>
#include <memory>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace abey::session {
namespace {

// After the end, for clients that have not yet taken the last output.
constexpr uint64_t parting_time = 2'000'000; // microseconds
// After SIGTERM, for the root processes: less than systemd waits for a unit by default.
constexpr uint64_t ending_time = 10'000'000;

class SessionWatch {
  public:
    explicit SessionWatch(const Keep &request) : request_(request) {}
    SessionWatch(const SessionWatch &) = delete;
    SessionWatch &operator=(const SessionWatch &) = delete;
    ~SessionWatch() = default;

    // Before anything is brought back: whatever can fail should fail here. Clients that come early wait.
    Result<> prepare(const std::string &session, gid_t group) {
        sd_event *event = nullptr;
        int r = sd_event_new(&event);
        if (r < 0)
            return fail(-r, "cannot make an event loop");
        event_.reset(event);
        const std::string path = TRY(socket_path(request_.sockets, session));
        auto listening = TRY(ListeningSocket::make(path, request_.uid));
        auto logins = TRY(LoginList::make(session, request_.login));
        host_ = std::make_unique<TerminalHost>(
            TRY(TerminalHost::start(std::move(listening), std::move(logins), request_.uid, group)));
        sd_event_source *source = nullptr;
        if ((r = sd_event_add_io(event, &source, host_->process().get(), EPOLLIN, on_host_end, this)) >= 0)
            host_end_.reset(source);
        if (r >= 0 && (r = sd_event_add_signal(event, &source, SIGCHLD, on_child, this)) >= 0)
            child_.reset(source);
        if (r >= 0 && (r = sd_event_add_signal(event, &source, SIGTERM, on_terminate, this)) >= 0)
            terminate_.reset(source);
        // Who ends a session's scope sends this one, too (SendSIGHUP= of systemd.kill(5)).
        if (r >= 0 && (r = sd_event_add_signal(event, &source, SIGHUP, on_terminate, this)) >= 0)
            hang_up_.reset(source);
        if (r < 0)
            return fail(-r, "cannot watch the session");
        return {};
    }

    Result<> run(resume::Report report) {
        for (const int root : report.roots)
            watch_root(root);
        for (resume::TerminalMaster &terminal : report.terminals) {
            const auto picture = request_.pictures.find(terminal.old_index);
            const auto added = host_->add({.index = terminal.index,
                                           .old_index = terminal.old_index,
                                           .fd = std::move(terminal.master),
                                           .picture = picture == request_.pictures.end() ? "" : picture->second});
            if (!added)
                request_.complain(added.error());
        }
        host_->open();
        reap(); // those that ended before we looked
        if (roots_.empty())
            finish();
        const int r = sd_event_loop(event_.get());
        if (r < 0)
            return fail(-r, "the event loop broke");
        return {};
    }

  private:
    static int on_child(sd_event_source * /*source*/, const signalfd_siginfo * /*info*/, void *self) {
        static_cast<SessionWatch *>(self)->reap();
        return 0;
    }

    static int on_terminate(sd_event_source * /*source*/, const signalfd_siginfo * /*info*/, void *self) {
        auto &watch = *static_cast<SessionWatch *>(self);
        watch.host_->close("the session is being ended");
        // Terminals hang up their own; the others are told as logind tells them.
        for (const auto &[pid, root] : watch.roots_)
            for (const int signal : {SIGTERM, SIGCONT})
                ::syscall(SYS_pidfd_send_signal, root.process.get(), signal, nullptr, 0);
        watch.part(ending_time);
        return 0;
    }

    static int on_deadline(sd_event_source * /*source*/, uint64_t /*now*/, void *self) {
        return sd_event_exit(static_cast<SessionWatch *>(self)->event_.get(), 0);
    }

    static int on_host_end(sd_event_source * /*source*/, int /*fd*/, uint32_t /*events*/, void *self) {
        auto &watch = *static_cast<SessionWatch *>(self);
        if (watch.roots_.empty())
            return sd_event_exit(watch.event_.get(), 0);
        // Its user has killed it: the terminals are hung up, and what outlives that goes on without them.
        watch.host_end_.reset();
        watch.request_.complain(Error(0, "the process that serves the terminals has ended before the session"));
        return 0;
    }

    // Not by waitpid: with a pid namespace a root may have another parent.
    void watch_root(pid_t pid) {
        Root root = {.process = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), .source = {}};
        sd_event_source *source = nullptr;
        if (!root.process) // ended already, and somebody else was its parent
            return;
        const int r = sd_event_add_io(event_.get(), &source, root.process.get(), EPOLLIN, on_root_end, this);
        if (r < 0)
            return request_.complain(Error(-r, fmt::format("process {}: cannot watch it", pid)));
        root.source.reset(source);
        roots_.emplace(pid, std::move(root));
    }

    static int on_root_end(sd_event_source * /*source*/, int fd, uint32_t /*events*/, void *self) {
        auto &watch = *static_cast<SessionWatch *>(self);
        const auto root =
            std::ranges::find_if(watch.roots_, [fd](const auto &each) { return each.second.process.get() == fd; });
        if (root == watch.roots_.end())
            return 0;
        watch.host_->process_ended(root->first);
        watch.roots_.erase(root);
        if (watch.roots_.empty())
            watch.finish();
        return 0;
    }

    // Orphans of the session become our children as well; the session does not last for their sake.
    void reap() {
        for (pid_t pid = 0; (pid = ::waitpid(-1, nullptr, WNOHANG | __WALL)) > 0;)
            host_->process_ended(pid);
    }

    void finish() {
        host_->close("the session has ended");
        if (!host_end_)
            sd_event_exit(event_.get(), 0);
        part(parting_time);
    }

    // At the latest in `time` it is over.
    void part(uint64_t time) {
        sd_event_source *source = nullptr;
        if (sd_event_add_time_relative(event_.get(), &source, CLOCK_MONOTONIC, time, 0, on_deadline, this) < 0)
            sd_event_exit(event_.get(), 0);
        deadline_.reset(source);
    }

    const Keep &request_;
    Event event_;
    struct Root {
        Fd process; // pidfd
        EventSource source;
    };
    std::map<pid_t, Root> roots_;
    std::unique_ptr<TerminalHost> host_;
    EventSource child_;
    EventSource terminate_;
    EventSource hang_up_;
    EventSource host_end_;
    EventSource deadline_;
};

Result<> block_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGCHLD);
    ::sigaddset(&set, SIGTERM);
    ::sigaddset(&set, SIGHUP);
    ::sigaddset(&set, job::cancel_signal);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) < 0 || ::signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return fail(errno, "cannot set up signals");
    return {};
}

} // namespace

Result<> keep(const Keep &request) {
    // From here on SIGTERM and SIGHUP are looked for where they can be obeyed, so that nothing is left half done.
    TRY(block_signals());
    const auto user = TRY(os::user_of(request.uid));
    const PamSession pam = TRY(PamSession::open(request.pam_service, user.name));
    const std::string session = pam.variable("XDG_SESSION_ID");
    if (session.empty())
        return fail(0, "user {}: PAM made no login session; /etc/pam.d/{} must call pam_systemd.so", user.name,
                    request.pam_service);

    SessionWatch watch(request);
    TRY_IN(watch.prepare(session, user.gid), "session {}", session);
    if (request.opened)
        TRY_IN(request.opened(session), "session {}", session);
    if (request.environment)
        request.environment(pam.environment());
    resume::Report report = TRY(in_worker(request.work, request.progress));
    os::fault_point("reported");
    auto noted = check_for_stop();
    if (noted)
        noted = request.ready(session, report);
    if (!noted) {
        end_children();
        return within(std::move(noted).error(), "session {}", session);
    }
    // Too late: what was asked for is done, and its session is no job of anybody's any more.
    if (::signal(job::cancel_signal, SIG_IGN) == SIG_ERR)
        request.complain(Error(errno, "cannot set up signals"));
    TRY_IN(watch.run(std::move(report)), "session {}", session);
    return {};
}

} // namespace abey::session
