// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/run_job.h"

#include "engine/os/fd.h"
#include "engine/os/user.h"
#include "session/keeper/pam.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::session {
namespace {

constexpr uint16_t usual_rows = 24;
constexpr uint16_t usual_columns = 80;

struct NewTerminal {
    Fd master;
    Fd slave;
    uint32_t index = 0;
};

Result<NewTerminal> make_terminal(const job::Job &job) {
    NewTerminal made;
    made.master = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!made.master)
        return fail(errno, "cannot make a terminal");
    if (::ioctl(made.master.get(), TIOCGPTN, &made.index) < 0 || ::unlockpt(made.master.get()) < 0)
        return fail(errno, "cannot use the new terminal");
    // ioctl_tty(2): by descriptor, whatever is mounted on /dev/pts. Not with O_CLOEXEC, which Linux would take for a
    // flag of the open file as well, and show of all its descriptors (proc_pid_fdinfo(5)).
    made.slave = Fd(::ioctl(made.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY));
    if (!made.slave || ::fcntl(made.slave.get(), F_SETFD, FD_CLOEXEC) < 0)
        return fail(errno, "terminal pts/{}: cannot open it", made.index);
    const bool sized = job.rows != 0 && job.columns != 0;
    const winsize size = {.ws_row = sized ? job.rows : usual_rows,
                          .ws_col = sized ? job.columns : usual_columns,
                          .ws_xpixel = 0,
                          .ws_ypixel = 0};
    // As login(1) does; the group stays the one of devpts (tty).
    if (::fchown(made.slave.get(), job.uid, static_cast<gid_t>(-1)) < 0 || ::fchmod(made.slave.get(), 0620) < 0 ||
        ::ioctl(made.master.get(), TIOCSWINSZ, &size) < 0)
        return fail(errno, "terminal pts/{}: cannot give it to user {}", made.index, job.uid);
    return made;
}

std::vector<char *> pointers_to(std::vector<std::string> &texts) {
    std::vector<char *> pointers;
    pointers.reserve(texts.size() + 1);
    for (auto &text : texts)
        pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

struct Execution {
    os::User account;
    std::string directory;
    std::string program;
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
};

// In the new process; returns errno when it fails.
int execute(Execution &execution, uid_t uid, const Fd &slave) {
    for (int signal = 1; signal < NSIG; ++signal)
        (void)::signal(signal, SIG_DFL); // NOLINT(cert-err33-c): some cannot be changed
    if (::setsid() < 0 || ::ioctl(slave.get(), TIOCSCTTY, 0) < 0)
        return errno;
    for (const int fd : {0, 1, 2}) {
        if (::dup2(slave.get(), fd) < 0)
            return errno;
    }
    if (::initgroups(execution.account.name.c_str(), execution.account.gid) < 0 ||
        ::setresgid(execution.account.gid, execution.account.gid, execution.account.gid) < 0 ||
        ::setresuid(uid, uid, uid) < 0)
        return errno;
    // With the user's rights: a directory that only root can enter is none of theirs.
    if (execution.directory.empty() || ::chdir(execution.directory.c_str()) < 0) {
        if (::chdir(execution.account.home.c_str()) < 0 && ::chdir("/") < 0)
            return errno;
    }
    auto arguments = pointers_to(execution.arguments);
    auto environment = pointers_to(execution.environment);
    ::environ = environment.data(); // the program is looked for in its own PATH
    ::execvp(execution.program.c_str(), arguments.data());
    return errno;
}

std::string_view name_in(std::string_view variable) { return variable.substr(0, variable.find('=')); }

} // namespace

std::vector<std::string> environment_of(const job::Job &job, const std::vector<std::string> &from_pam,
                                        const std::vector<std::string> &of_account) {
    std::vector<std::string> result;
    for (const auto *source : {&from_pam, &job.environment, &of_account}) {
        for (const auto &variable : *source) {
            const auto name = name_in(variable);
            if (name.empty() || name.size() == variable.size())
                continue;
            if (std::ranges::find(result, name, name_in) == result.end())
                result.push_back(variable);
        }
    }
    return result;
}

Result<resume::Report> start_command(const job::Job &job, const std::vector<std::string> &environment) {
    Execution execution;
    execution.account = TRY(os::user_of(job.uid));
    const os::User &user = execution.account;
    execution.directory = job.directory;
    execution.environment = environment_of(job, environment,
                                           {"HOME=" + user.home, "USER=" + user.name, "LOGNAME=" + user.name,
                                            "SHELL=" + user.shell, "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=linux"});
    execution.arguments = job.command;
    if (job.command.empty()) { // a login shell, by the sign that login(1) gives
        execution.program = user.shell;
        execution.arguments = {"-" + user.shell.substr(user.shell.rfind('/') + 1)};
    } else {
        execution.program = job.command.front();
    }

    NewTerminal terminal = TRY(make_terminal(job));
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd heard(ends[0]);
    Fd said(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0)
        return fail(errno, "cannot start {}", execution.program);
    if (pid == 0) {
        const int code = execute(execution, job.uid, terminal.slave);
        (void)!::write(said.get(), &code, sizeof code);
        ::_exit(127);
    }
    said.reset();
    int code = 0;
    ssize_t n = 0;
    // Closed by a successful execve(2)
    while ((n = ::read(heard.get(), &code, sizeof code)) < 0 && errno == EINTR) {
    }
    if (n != 0) {
        (void)::waitpid(pid, nullptr, 0);
        return fail(n == sizeof code ? code : EIO, "cannot run {}", execution.program);
    }
    resume::Report report;
    report.roots = {pid};
    report.terminals.push_back(
        {.index = terminal.index, .old_index = terminal.index, .master = std::move(terminal.master)});
    return report;
}

} // namespace abey::session
