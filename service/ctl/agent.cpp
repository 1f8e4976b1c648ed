// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/agent.h"

#include "engine/os/fd.h"

#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::ctl {

Result<PasswordAgent> PasswordAgent::start() {
    if (::isatty(STDIN_FILENO) == 0)
        return fail(ENOTTY, "there is no terminal to ask for a password");
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd ready(ends[0]);
    Fd notify(ends[1]);
    const auto number = fmt::format("{}", notify.get());
    const auto parent = ::getpid();
    const auto child = ::fork();
    if (child < 0)
        return fail(errno, "cannot start pkttyagent");
    if (child == 0) {
        // It may not outlive us: the session that it is in may be about to be suspended
        ::prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (::getppid() != parent)
            ::_exit(1);
        ::fcntl(notify.get(), F_SETFD, 0);
        ::execlp("pkttyagent", "pkttyagent", "--notify-fd", number.c_str(), "--fallback", nullptr);
        ::_exit(127);
    }
    notify = Fd();
    PasswordAgent agent(child);
    // It closes its end when it is ready, or dies
    constexpr int patience = 10'000; // milliseconds
    pollfd wait{.fd = ready.get(), .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, patience) <= 0)
        return fail(ETIMEDOUT, "pkttyagent does not become ready");
    siginfo_t end{};
    if (::waitid(P_PID, static_cast<id_t>(child), &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == child)
        return fail(0, "pkttyagent cannot be run");
    return agent;
}

PasswordAgent::~PasswordAgent() {
    if (pid_ < 0)
        return;
    // SIGTERM would leave the terminal without echo if a password is being asked for; that is over when we come here.
    ::kill(pid_, SIGTERM);
    ::kill(pid_, SIGCONT);
    ::waitpid(pid_, nullptr, 0);
}

} // namespace abey::ctl
