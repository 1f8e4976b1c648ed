// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/late_close.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>
#include <string_view>
#include <vector>

#include <dirent.h>

namespace abey::os {

namespace {

constexpr int64_t block = 512;               // of st_blocks
constexpr int64_t worth_it = 32LL << 20U;    // a fork takes as long as freeing this
constexpr std::string_view on_its_own = "x"; // what the child says

struct Nameless {
    std::vector<int> files;
    int64_t bytes = 0;
};

Nameless nameless_files() {
    Nameless all;
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::opendir("/proc/self/fd"), ::closedir);
    while (const dirent *entry = stream ? ::readdir(stream.get()) : nullptr) {
        const std::string_view name = entry->d_name;
        int fd = -1;
        struct stat stat = {};
        if (std::from_chars(name.data(), name.data() + name.size(), fd).ec != std::errc() || ::fstat(fd, &stat) < 0)
            continue;
        if (!S_ISREG(stat.st_mode) || stat.st_nlink != 0)
            continue;
        all.files.push_back(fd);
        all.bytes += stat.st_blocks * block;
    }
    return all;
}

[[noreturn]] void hold(std::vector<int> &files, int line, int answer) noexcept {
    sigset_t every;
    ::sigfillset(&every);
    ::sigprocmask(SIG_BLOCK, &every, nullptr);
    files.push_back(line);
    files.push_back(answer);
    std::ranges::sort(files);
    close_all_but(files);
    (void)!::write(answer, on_its_own.data(), on_its_own.size());
    char heard = 0;
    while (::read(line, &heard, 1) < 0 && errno == EINTR) {
    }
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

void LateClose::share() noexcept {
    Nameless nameless = nameless_files();
    if (nameless.bytes < worth_it)
        return;
    nameless.files.reserve(nameless.files.size() + 2);
    std::array<int, 2> line = {};
    std::array<int, 2> answer = {};
    if (::pipe2(line.data(), O_CLOEXEC) < 0)
        return;
    const Fd theirs(line[0]);
    Fd ours(line[1]);
    if (::pipe2(answer.data(), O_CLOEXEC) < 0)
        return;
    const Fd from_child(answer[0]);
    Fd to_us(answer[1]);
    const pid_t child = ::fork();
    if (child < 0)
        return;
    if (child == 0)
        hold(nameless.files, theirs.get(), to_us.get());
    to_us.reset();
    // what else was inherited (locks, the ends of pipes) is closed when it answers
    char heard = 0;
    while (::read(from_child.get(), &heard, 1) < 0 && errno == EINTR) {
    }
    line_ = std::move(ours);
}

} // namespace abey::os
