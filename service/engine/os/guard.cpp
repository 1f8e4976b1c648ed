// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/guard.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include <sys/wait.h>

namespace abey::os {

namespace {

constexpr std::string_view ready = "r";
constexpr std::string_view dismissed = "d";

// 0: the other side has ended without a word.
ssize_t hear(int line) noexcept {
    char heard = 0;
    ssize_t n = 0;
    do {
        n = ::read(line, &heard, 1);
    } while (n < 0 && errno == EINTR);
    return n;
}

[[noreturn]] void stand(std::span<const int> kept, int line, int answer, const std::function<void()> &act) {
    sigset_t every;
    ::sigfillset(&every);
    ::sigprocmask(SIG_BLOCK, &every, nullptr);
    close_all_but(kept);
    (void)!::write(answer, ready.data(), ready.size());
    ::close(answer);
    if (hear(line) <= 0)
        act();
    ::_exit(0);
}

} // namespace

void close_all_but(std::span<const int> sorted) noexcept {
    unsigned from = 0;
    for (const int fd : sorted) {
        const auto kept = static_cast<unsigned>(fd);
        if (kept > from)
            ::close_range(from, kept - 1, 0);
        from = std::max(from, kept + 1);
    }
    ::close_range(from, ~0U, 0);
}

Result<Guard> Guard::post(std::vector<int> kept, const std::function<void()> &act) {
    std::array<int, 2> line = {};
    if (::pipe2(line.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd theirs(line[0]);
    Guard guard;
    guard.line_ = Fd(line[1]);
    std::array<int, 2> answer = {};
    if (::pipe2(answer.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd from_child(answer[0]);
    Fd to_us(answer[1]);
    kept.push_back(theirs.get());
    kept.push_back(to_us.get());
    std::ranges::sort(kept);
    guard.child_ = ::fork();
    if (guard.child_ < 0) {
        guard.child_ = 0;
        return fail(errno, "cannot start a guard");
    }
    if (guard.child_ == 0)
        stand(kept, theirs.get(), to_us.get(), act);
    to_us.reset();
    (void)hear(from_child.get());
    return guard;
}

Guard::~Guard() {
    line_.reset();
    if (child_ > 0)
        while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
        }
}

void Guard::dismiss() noexcept {
    if (line_)
        (void)!::write(line_.get(), dismissed.data(), dismissed.size());
    line_.reset();
}

} // namespace abey::os
