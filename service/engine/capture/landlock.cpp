// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/landlock.h"

#include "engine/os/procfs.h"

#include <array>
#include <cerrno>
#include <csignal>

#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::capture {

namespace {

constexpr unsigned ruleset_version = 1; // LANDLOCK_CREATE_RULESET_VERSION, linux/landlock.h

uint64_t namespace_of(const std::string &file) {
    struct stat stat = {};
    return ::stat(file.c_str(), &stat) == 0 ? stat.st_ino : 0;
}

constexpr int patience_ms = 2000;
constexpr int plain_root = SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT; // neither ids nor programs bring capabilities

// Only system calls. Ids first, as they have no meaning in another user namespace; to enter one gives all capabilities
// there.
int become(const Witness::Place &place, int users) {
    if (::prctl(PR_SET_SECUREBITS, plain_root) < 0 || ::syscall(SYS_setresgid, place.gid, place.gid, place.gid) < 0 ||
        ::syscall(SYS_setresuid, place.uid, place.uid, place.uid) < 0)
        return errno;
    if (users >= 0 && (::setns(users, CLONE_NEWUSER) < 0 || ::prctl(PR_SET_SECUREBITS, plain_root) < 0))
        return errno;
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none = {};
    return ::syscall(SYS_capset, &header, none.data()) < 0 ? errno : 0;
}

// Whoever is not dumpable (prctl(2)) may not be looked at, also when it has ended; and as the copy of this process that
// it is at first it must not be. So it starts a program.
int become_witness(const Witness::Place &place, int users) {
    if (const int error = become(place, users); error != 0)
        return error;
    if (::syscall(SYS_close_range, 0, ~0U, 0) < 0)
        return errno;
    std::array<const char *, 1> nothing = {nullptr};
    for (const char *program : {"/usr/bin/true", "/bin/true"}) {
        std::array<const char *, 2> arguments = {program, nullptr};
        ::syscall(SYS_execve, program, arguments.data(), nothing.data());
    }
    return errno;
}

// clone3(2): signal handlers are not for the child.
long fork_plain() {
    clone_args arguments = {};
    arguments.flags = CLONE_CLEAR_SIGHAND;
    arguments.exit_signal = SIGCHLD;
    return ::syscall(SYS_clone3, &arguments, sizeof arguments);
}

// Until the child has ended; its status, -1 when it was killed. It is not reaped. The user may hold it up, so not for
// ever.
int await_end(int pid) {
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    pollfd entry = {handle.get(), POLLIN, 0};
    while (::poll(&entry, 1, patience_ms) < 0 && errno == EINTR) {
    }
    (void)::kill(pid, SIGKILL);
    siginfo_t end = {};
    while (::waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    return end.si_code == CLD_EXITED ? end.si_status : -1;
}

} // namespace

Result<Witness> Witness::make(const Place &place) {
    Fd users;
    if (place.other_users)
        users = TRY(open_file(fmt::format("/proc/{}/ns/user", place.door), O_RDONLY));
    if (place.other_pids) {
        const Fd theirs = TRY(open_file(fmt::format("/proc/{}/ns/pid", place.door), O_RDONLY));
        if (::setns(theirs.get(), CLONE_NEWPID) < 0)
            return fail(errno, "cannot make a process in the pid namespace of {}", place.door);
    }
    const long pid = fork_plain();
    if (pid == 0)
        ::_exit(become_witness(place, users.get()));
    const int error = errno;
    if (place.other_pids) {
        const Fd own = TRY(open_file("/proc/self/ns/pid", O_RDONLY));
        if (::setns(own.get(), CLONE_NEWPID) < 0)
            return fail(errno, "cannot return to the own pid namespace");
    }
    if (pid < 0)
        return fail(error, "cannot make a process");
    Witness witness(static_cast<int>(pid));
    if (const int status = await_end(witness.pid_); status != 0)
        return fail(status > 0 ? status : ECHILD, "cannot make a process with user id {} and group id {}", place.uid,
                    place.gid);
    witness.own_pid_ = TRY(os::read_status(witness.pid_)).own_tid;

    // What a process of ours with these ids may not look at proves nothing.
    const long control = fork_plain();
    if (control < 0)
        return fail(errno, "cannot make a process");
    if (control == 0) {
        const void *head = nullptr;
        size_t size = 0;
        if (const int failed = become(place, users.get()); failed != 0)
            ::_exit(failed);
        ::_exit(::syscall(SYS_get_robust_list, witness.pid_, &head, &size) < 0 ? errno : 0);
    }
    const Witness reaped(static_cast<int>(control));
    if (const int status = await_end(static_cast<int>(control)); status != 0)
        return fail(status > 0 ? status : ECHILD, "processes with user id {} cannot look at each other", place.uid);
    return witness;
}

Witness::~Witness() {
    if (pid_ == 0)
        return;
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
}

Witnesses::Witnesses()
    : possible_(::syscall(SYS_landlock_create_ruleset, nullptr, 0, ruleset_version) > 0),
      own_users_(namespace_of("/proc/self/ns/user")), own_pids_(namespace_of("/proc/self/ns/pid")) {}

Result<int> Witnesses::for_task(int door, uint32_t uid, uint32_t gid) {
    if (!possible_)
        return 0;
    if (door != last_door_)
        last_place_ = {namespace_of(fmt::format("/proc/{}/ns/user", door)),
                       namespace_of(fmt::format("/proc/{}/ns/pid", door))};
    last_door_ = door;
    const auto [users, pids] = last_place_;
    const auto key = std::tuple(users, pids, uid, gid);
    if (const auto known = known_.find(key); known != known_.end())
        return known->second.own_pid();
    Witness made = TRY_IN(Witness::make({uid, gid, door, users != own_users_, pids != own_pids_}),
                          "cannot find out whether it is restricted by landlock(7)");
    return known_.emplace(key, std::move(made)).first->second.own_pid();
}

} // namespace abey::capture
