// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/outpost.h"

#include <array>
#include <cerrno>
#include <csignal>

#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {

namespace {

// In the child, which has no threads, and so may change its user namespace. Only system calls from here on.
int follow(const Outpost::Orders &orders) {
    if (orders.group != 0 && ::syscall(SYS_setresgid, -1, orders.group, -1) < 0)
        return errno;
    if (orders.user != 0 &&
        (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0 || ::syscall(SYS_setresuid, -1, orders.user, -1) < 0))
        return errno;
    if (orders.user_namespace >= 0 && ::setns(orders.user_namespace, CLONE_NEWUSER) < 0)
        return errno;
    if (orders.make != 0 && ::unshare(orders.make) < 0)
        return errno;
    return 0;
}

long fork_without_handlers() {
    clone_args arguments = {};
    arguments.flags = CLONE_CLEAR_SIGHAND;
    arguments.exit_signal = SIGCHLD;
    return ::syscall(SYS_clone3, &arguments, sizeof arguments);
}

} // namespace

Result<Outpost> Outpost::send(const Orders &orders) {
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd read(ends[0]);
    Fd write(ends[1]);
    const long pid = fork_without_handlers();
    if (pid < 0)
        return fail(errno, "cannot make a process");
    if (pid == 0) {
        const int done = follow(orders);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL); // a change of credentials clears it
        ::prctl(PR_SET_DUMPABLE, 0);        // its files in /proc are ours, whoever it is
        (void)!::write(write.get(), &done, sizeof done);
        for (;;)
            ::syscall(SYS_pause);
    }
    Outpost outpost(static_cast<int>(pid));
    write.reset();
    int done = 0;
    ssize_t size = 0;
    while ((size = ::read(read.get(), &done, sizeof done)) < 0 && errno == EINTR) {
    }
    if (size != sizeof done)
        return fail(ECHILD, "a process that was to make a namespace ended");
    if (done != 0)
        return fail(done, "cannot make or enter a namespace");
    return outpost;
}

Outpost::~Outpost() {
    if (pid_ == 0)
        return;
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
}

Result<> write_as_of(int user_namespace, const std::string &path, std::string_view text) {
    if (user_namespace < 0)
        return write_file(path, text);
    const long pid = fork_without_handlers();
    if (pid < 0)
        return fail(errno, "cannot make a process");
    if (pid == 0) {
        if (::setns(user_namespace, CLONE_NEWUSER) < 0)
            ::_exit(errno);
        const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        if (file < 0)
            ::_exit(errno);
        ::_exit(::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : errno);
    }
    int status = 0;
    while (::waitpid(static_cast<int>(pid), &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD, "cannot write {}", path);
    return {};
}

} // namespace abey::os
