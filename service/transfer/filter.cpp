// SPDX-License-Identifier: LGPL-2.1-or-later
#include "transfer/filter.h"

#include "engine/os/program.h"

#include <array>
#include <csignal>

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace abey::transfer {
namespace {

constexpr size_t errors_limit = 1U << 20U;

std::string last_line(std::string text) {
    text.erase(text.find_last_not_of('\n') + 1);
    const auto begin = text.rfind('\n');
    return begin == std::string::npos ? text : text.substr(begin + 1);
}

} // namespace

Result<Pipe> make_pipe() {
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    return Pipe{.read = Fd(ends[0]), .write = Fd(ends[1])};
}

Result<Filter> Filter::start(const std::vector<std::string> &arguments, const Fd &in, const Fd &out) {
    Filter filter;
    filter.name_ = arguments.front();
    const auto path = path_of_program(filter.name_);
    if (path.empty())
        return fail(ENOENT, "the program {} is needed: install it", filter.name_);
    filter.errors_ = Fd(::memfd_create("errors", MFD_CLOEXEC));
    if (!filter.errors_)
        return fail(errno, "cannot make a place for messages");
    std::vector<std::string> texts = arguments;
    std::vector<char *> pointers;
    pointers.reserve(texts.size() + 1);
    for (auto &text : texts)
        pointers.push_back(text.data());
    pointers.push_back(nullptr);
    std::string locale = "LC_ALL=C";
    std::string search = "PATH=/usr/bin:/bin";
    std::array<char *, 3> environment = {locale.data(), search.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, filter.errors_.get(), STDERR_FILENO);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    // We take EPIPE for an answer; the programs are to end by it.
    sigset_t defaults;
    ::sigemptyset(&defaults);
    ::sigaddset(&defaults, SIGPIPE);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    // Nor may they be deaf to what we wait for in another way.
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::posix_spawnattr_setsigmask(&attributes, &blocked);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    const int code =
        ::posix_spawn(&filter.child_, path.c_str(), &actions, &attributes, pointers.data(), environment.data());
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        filter.child_ = 0;
        return fail(code, "cannot start {}", path);
    }
    return filter;
}

Filter::~Filter() {
    if (child_ == 0)
        return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
}

Result<> Filter::wait() {
    int status = 0;
    pid_t ended = -1;
    do
        ended = ::waitpid(child_, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended < 0)
        return fail(errno, "cannot wait for {}", name_);
    child_ = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return {};
    std::string said;
    if (::lseek(errors_.get(), 0, SEEK_SET) == 0)
        said = last_line(read_all(errors_, errors_limit).value_or(""));
    if (WIFSIGNALED(status))
        return fail(0, "{} was killed by signal {}", name_, WTERMSIG(status));
    return fail(0, "{}", said.empty() ? fmt::format("{} ended with status {}", name_, WEXITSTATUS(status)) : said);
}

} // namespace abey::transfer
