// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/program.h"

#include "engine/os/fd.h"
#include "engine/os/user.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace abey {
namespace {

constexpr std::array<const char *, 4> search = {"/usr/local/bin", "/usr/bin", "/usr/sbin", "/bin"};
constexpr size_t kept_of_errors = 4096;

struct Pipe {
    Fd read, write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    return Pipe{.read = Fd(ends[0]), .write = Fd(ends[1])};
}

std::vector<char *> pointers(std::vector<std::string> &texts) {
    std::vector<char *> all;
    all.reserve(texts.size() + 1);
    for (auto &text : texts)
        all.push_back(text.data());
    all.push_back(nullptr);
    return all;
}

// The child between fork and exec: nothing but system calls.
struct Start {
    const char *path;
    char **arguments;
    char **environment;
    const char *directory;
    int in, out, err;
    pid_t parent;
    bool other_user;
    uid_t uid;
    gid_t gid;
    const std::vector<gid_t> *groups;
};

[[noreturn]] void become(const Start &start) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != start.parent)
        ::_exit(126);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (const int number : {SIGPIPE, SIGTERM, SIGINT, SIGHUP})
        (void)::signal(number, SIG_DFL);
    if (::dup2(start.in, 0) < 0 || ::dup2(start.out, 1) < 0 || ::dup2(start.err, 2) < 0)
        ::_exit(126);
    ::close_range(3, ~0U, 0);
    // The user's identity first: a directory of theirs may be closed to root (NFS), and must be theirs to enter.
    if (start.other_user && (::setgroups(start.groups->size(), start.groups->data()) < 0 || ::setgid(start.gid) < 0 ||
                             ::setuid(start.uid) < 0))
        ::_exit(126);
    // Changing the identity clears it.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != start.parent || ::chdir(start.directory) < 0)
        ::_exit(126);
    ::execve(start.path, start.arguments, start.environment);
    ::_exit(127);
}

// Talks to the program until it has closed its outputs or ended. What it has started may hold them longer.
class Talk {
  public:
    Talk(const Program &program, Output output, Fd in, Fd out, Fd err, Fd child)
        : program_(program), output_(std::move(output)), in_(std::move(in)), out_(std::move(out)), err_(std::move(err)),
          child_(std::move(child)) {}

    // False: the time is over.
    Result<bool> listen() {
        using Clock = std::chrono::steady_clock;
        const auto end = Clock::now() + program_.limit;
        for (;;) {
            int wait = -1;
            if (program_.limit.count() > 0) {
                const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
                if (left <= 0)
                    return false;
                wait = static_cast<int>(std::min<long long>(left + 1, 1 << 30));
            }
            std::array<pollfd, 4> any = {{{.fd = in_.get(), .events = POLLOUT, .revents = 0},
                                          {.fd = out_.get(), .events = POLLIN, .revents = 0},
                                          {.fd = err_.get(), .events = POLLIN, .revents = 0},
                                          {.fd = child_.get(), .events = POLLIN, .revents = 0}}};
            if (::poll(any.data(), any.size(), wait) < 0) {
                if (errno == EINTR)
                    continue;
                return fail(errno, "cannot wait for a program");
            }
            if (any[0].revents != 0)
                give();
            const bool said = any[1].revents != 0 && take(out_, false);
            const bool complained = any[2].revents != 0 && take(err_, true);
            if (any[3].revents != 0 && !said && !complained)
                return true;
        }
    }

    [[nodiscard]] std::string last_error() const {
        const auto end = errors_.find_last_not_of(" \n\r\t");
        if (end == std::string::npos)
            return "";
        const auto before = errors_.find_last_of("\n\r", end);
        return errors_.substr(before == std::string::npos ? 0 : before + 1,
                              end - (before == std::string::npos ? 0 : before + 1) + 1);
    }

  private:
    void give() {
        const auto rest = std::string_view(program_.input).substr(given_);
        const auto done = rest.empty() ? -1 : ::write(in_.get(), rest.data(), rest.size());
        if (done > 0)
            given_ += static_cast<size_t>(done);
        // One that does not read its input may still do its work.
        if (given_ == program_.input.size() || (done < 0 && errno != EAGAIN && errno != EINTR))
            in_.reset();
    }
    bool take(Fd &from, bool errors) {
        std::array<char, 4096> buffer{};
        const auto size = ::read(from.get(), buffer.data(), buffer.size());
        if (size <= 0) {
            from.reset();
            return false;
        }
        const std::string_view text(buffer.data(), static_cast<size_t>(size));
        if (errors) {
            errors_ += text;
            if (errors_.size() > 2 * kept_of_errors)
                errors_.erase(0, errors_.size() - kept_of_errors);
        } else if (output_) {
            output_(text);
        }
        return true;
    }

    const Program &program_;
    Output output_;
    Fd in_, out_, err_, child_;
    size_t given_ = 0;
    std::string errors_;
};

// write(2) to a program that has ended raises SIGPIPE.
class NoPipeSignal {
  public:
    NoPipeSignal() {
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGPIPE, &ignore, &before_);
    }
    NoPipeSignal(const NoPipeSignal &) = delete;
    NoPipeSignal &operator=(const NoPipeSignal &) = delete;
    ~NoPipeSignal() { ::sigaction(SIGPIPE, &before_, nullptr); }

  private:
    struct sigaction before_ {};
};

} // namespace

std::string path_of_program(const std::string &name) {
    if (name.find('/') != std::string::npos)
        return name;
    for (const char *directory : search) {
        auto path = fmt::format("{}/{}", directory, name);
        if (::access(path.c_str(), X_OK) == 0)
            return path;
    }
    return "";
}

bool has_program(const std::string &name) { return !path_of_program(name).empty(); }

Result<int> run_program(const Program &program, const Output &output, const std::vector<int> &accepted) {
    const auto &name = program.arguments.at(0);
    const auto path = path_of_program(name);
    if (path.empty())
        return fail(ENOENT, "{} is not installed", name);
    auto environment = program.environment;
    if (environment.empty())
        environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
    auto words = program.arguments;
    auto arguments = pointers(words);
    auto variables = pointers(environment);
    auto in = TRY(make_pipe());
    auto out = TRY(make_pipe());
    auto err = TRY(make_pipe());
    ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
    std::vector<gid_t> groups;
    if (program.as)
        groups = TRY(os::groups_of(program.user, program.as->second));

    const NoPipeSignal no_pipe_signal;
    const Start start{.path = path.c_str(),
                      .arguments = arguments.data(),
                      .environment = variables.data(),
                      .directory = program.directory.c_str(),
                      .in = in.read.get(),
                      .out = out.write.get(),
                      .err = err.write.get(),
                      .parent = ::getpid(),
                      .other_user = program.as.has_value(),
                      .uid = program.as ? program.as->first : 0,
                      .gid = program.as ? program.as->second : 0,
                      .groups = &groups};
    const pid_t child = ::fork();
    if (child < 0)
        return fail(errno, "cannot start {}", path);
    if (child == 0)
        become(start);
    ::setpgid(child, child); // whichever of the two is first
    in.read.reset();
    out.write.reset();
    err.write.reset();

    Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    Talk talk(program, output, std::move(in.write), std::move(out.read), std::move(err.read), std::move(pidfd));
    const auto listened = talk.listen();
    if (!listened || !*listened)
        ::kill(-child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return fail(errno, "{}: cannot learn how it ended", path);
    }
    TRY(Result<bool>(listened));
    const auto said = talk.last_error();
    const char *colon = said.empty() ? "" : ": ";
    if (!*listened)
        return fail(ETIMEDOUT, "{} did not end within {} s{}{}", path, (program.limit.count() + 999) / 1000, colon,
                    said);
    if (WIFSIGNALED(status))
        return fail(0, "{} was killed by signal {}{}{}", path, WTERMSIG(status), colon, said);
    const int code = WEXITSTATUS(status);
    if (code == 127 && said.empty())
        return fail(0, "{} cannot be executed", path);
    if (std::ranges::find(accepted, code) == accepted.end())
        return fail(0, "{} ended with status {}{}{}", path, code, colon, said);
    return code;
}

} // namespace abey
