// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/errand.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {

namespace {

// What goes through the pipe first; then the words, or the error's text.
struct Head {
    int32_t failed = 0; // 1: an error
    int32_t code = 0;
    uint64_t files = 0, numbers = 0, text = 0;
};

constexpr uint64_t most = 1U << 20U;

[[noreturn]] void carry_out(const std::function<Result<Errand::Found>()> &work, const Fd &answer) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int signal = 1; signal < NSIG; ++signal)
        (void)::signal(signal, SIG_DFL);
    const auto done = work();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL); // a change of credentials clears it
    ::prctl(PR_SET_DUMPABLE, 0);        // its files in /proc are ours, whoever it is
    Head head;
    std::string rest;
    if (done) {
        head.files = done->files.size();
        head.numbers = done->numbers.size();
        rest.append(reinterpret_cast<const char *>(done->files.data()), head.files * sizeof(int));
        rest.append(reinterpret_cast<const char *>(done->numbers.data()), head.numbers * sizeof(uint64_t));
    } else {
        head.failed = 1;
        head.code = done.error().code();
        rest = done.error().message();
        if (head.code != 0) // message() ends with it
            if (const std::string reason = fmt::format(": {}", ::strerror(head.code)); rest.ends_with(reason))
                rest.resize(rest.size() - reason.size());
    }
    head.text = rest.size();
    (void)write_all(answer, std::string_view(reinterpret_cast<const char *>(&head), sizeof head));
    (void)write_all(answer, rest);
    for (;;)
        ::pause();
}

Result<> read_exactly(const Fd &file, char *to, size_t size) {
    while (size > 0) {
        const ssize_t got = ::read(file.get(), to, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(ECHILD, "a process that was sent into a namespace ended");
        to += got;
        size -= static_cast<size_t>(got);
    }
    return {};
}

} // namespace

Result<Errand> Errand::run(const std::function<Result<Found>()> &work) {
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd read(ends[0]);
    Fd write(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0)
        return fail(errno, "cannot make a process");
    if (pid == 0)
        carry_out(work, write);
    Errand errand(pid);
    write.reset();
    Head head;
    TRY(read_exactly(read, reinterpret_cast<char *>(&head), sizeof head));
    if (head.files > most || head.numbers > most || head.text > most * 16)
        return fail(EBADMSG, "a process that was sent into a namespace tells nonsense");
    std::string rest(head.text, '\0');
    TRY(read_exactly(read, rest.data(), rest.size()));
    if (head.failed != 0)
        return std::unexpected(Error(head.code, std::move(rest)));
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!handle)
        return fail(errno, "cannot open a pidfd of process {}", pid);
    for (uint64_t i = 0; i < head.files; ++i) {
        int number = 0;
        std::memcpy(&number, rest.data() + i * sizeof number, sizeof number);
        Fd file(number < 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_getfd, handle.get(), number, 0)));
        if (number >= 0 && !file)
            return fail(errno, "cannot take a descriptor of process {}", pid);
        errand.files_.push_back(std::move(file));
    }
    errand.numbers_.resize(head.numbers);
    if (head.numbers > 0)
        std::memcpy(errand.numbers_.data(), rest.data() + head.files * sizeof(int), head.numbers * sizeof(uint64_t));
    return errand;
}

Errand::~Errand() {
    if (pid_ == 0)
        return;
    (void)::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

} // namespace abey::os
