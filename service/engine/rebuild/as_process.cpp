// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/as_process.h"

#include "engine/os/mapped.h"

#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::rebuild {

// What a husk is to do as somebody else: descriptors of ours become 0, 1, ... to it, and are closed in the end.
class AsProcess::Turn {
  public:
    Turn(const AsProcess &as, std::span<const int> files) : husk_(*as.husk_), batch_(husk_.batch()) {
        for (const int file : files)
            batch_.must("cannot take a socket", SYS_pidfd_getfd, husk_.shop().worker_number, file, 0);
        batch_.must("cannot set the groups", SYS_setgroups, as.groups_.size(), batch_.put(std::as_bytes(as.groups_)));
        batch_.must("cannot set the group id", SYS_setresgid, -1, as.gid_, -1);
        batch_.must("cannot set the user id", SYS_setresuid, -1, as.uid_, -1);
    }
    os::Batch &batch() { return batch_; }
    // Leaves descriptors to be taken.
    Result<> run() {
        batch_.must("setresuid", SYS_setresuid, -1, 0, -1);
        batch_.must("setresgid", SYS_setresgid, -1, 0, -1);
        return husk_.run(batch_);
    }
    Result<> close_all() {
        auto batch = husk_.batch();
        batch.must("close_range", SYS_close_range, 0U, static_cast<unsigned>(husk_.shop().worker_number) - 1, 0U);
        return husk_.run(batch);
    }

  private:
    Husk &husk_;
    os::Batch batch_;
};

AsProcess::AsProcess(Context &context, int32_t pid, uint32_t uid, uint32_t gid, std::span<const uint32_t> groups)
    : uid_(uid), gid_(gid), groups_(groups) {
    if (const auto husk = context.husks.find(pid); husk != context.husks.end())
        husk_ = husk->second;
    else if (pid > 0 && !context.pids.contains(pid) && !context.pids.empty() &&
             context.pids.begin()->first == context.pids.begin()->second)
        former_ = pid;
}

int AsProcess::pid() const {
    if (husk_ != nullptr)
        return husk_->pid();
    return former_ != 0 ? former_ : ::getpid();
}

template <class Call> Result<> AsProcess::by_ourselves(const char *what, Call call) {
    if (former_ != 0) {
        clone_args arguments = {};
        arguments.flags = CLONE_FILES;
        arguments.exit_signal = SIGCHLD;
        arguments.set_tid = reinterpret_cast<uint64_t>(&former_);
        arguments.set_tid_size = 1;
        const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
        if (child == 0) {
            // an exit status has eight bits, and the errors of these calls fit
            const bool is_user = ::syscall(SYS_setgroups, groups_.size(), groups_.data()) == 0 &&
                                 ::syscall(SYS_setresgid, -1, gid_, -1) == 0 &&
                                 ::syscall(SYS_setresuid, -1, uid_, -1) == 0;
            ::_exit(is_user && call() == 0 ? 0 : errno);
        }
        int status = 0;
        if (child > 0 && ::waitpid(static_cast<pid_t>(child), &status, 0) == child) {
            if (!WIFEXITED(status))
                return fail(EINTR, "{}", what);
            return WEXITSTATUS(status) == 0 ? Result<>() : fail(WEXITSTATUS(status), "{}", what);
        }
        former_ = 0; // somebody has its id
    }
    const ActingAs user(uid_, gid_);
    if (call() != 0)
        return fail(errno, "{}", what);
    return {};
}

Result<SocketPair> AsProcess::pair(int type) {
    if (husk_ == nullptr) {
        const os::Mapped room(2 * sizeof(int), os::read_write, os::with_children);
        if (!room)
            return fail(errno, "no memory for a pair of unix sockets");
        auto *ends = static_cast<int *>(room.at());
        TRY(by_ourselves("cannot make a pair of unix sockets",
                         [&] { return ::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends); }));
        return SocketPair{Fd(ends[0]), Fd(ends[1])};
    }
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, husk_->pid(), 0)));
    if (!handle)
        return fail(errno, "cannot get hold of process {}", husk_->pid());
    Turn turn(*this, {});
    const uint64_t at = turn.batch().reserve(2 * sizeof(int));
    turn.batch().must("cannot make a pair of unix sockets", SYS_socketpair, AF_UNIX, type | SOCK_CLOEXEC, 0, at);
    TRY(turn.run());
    SocketPair made;
    for (int i = 0; i < 2; ++i) {
        const int theirs = turn.batch().output<int>(at + static_cast<uint64_t>(i) * sizeof(int));
        Fd &end = i == 0 ? made.first : made.second;
        end = Fd(static_cast<int>(::syscall(SYS_pidfd_getfd, handle.get(), theirs, 0)));
        if (!end)
            return fail(errno, "cannot take a unix socket from process {}", husk_->pid());
    }
    TRY(turn.close_all());
    return made;
}

Result<> AsProcess::listen(const Fd &socket, uint32_t backlog) {
    if (husk_ == nullptr)
        return by_ourselves("cannot listen", [&] { return ::listen(socket.get(), static_cast<int>(backlog)); });
    Turn turn(*this, std::array{socket.get()});
    turn.batch().must("cannot listen", SYS_listen, 0, backlog);
    TRY(turn.run());
    return turn.close_all();
}

Result<> AsProcess::connect(const Fd &socket, const UnixAddress &address, const Fd *directory) {
    if (husk_ == nullptr) {
        UnixAddress own = address;
        if (directory != nullptr)
            own = TRY(to_address(fmt::format("/proc/self/fd/{}/{}", directory->get(), address.address.sun_path)));
        return by_ourselves("cannot connect two unix sockets",
                            [&] { return ::connect(socket.get(), own.get(), own.size); });
    }
    std::vector<int> files = {socket.get()};
    if (directory != nullptr)
        files.push_back(directory->get());
    Turn turn(*this, files);
    auto &batch = turn.batch();
    if (directory != nullptr)
        batch.must("cannot enter a directory", SYS_fchdir, 1); // its own one comes later
    const size_t call = batch.may(SYS_connect, 0, batch.put(address.address), address.size);
    TRY(turn.run());
    TRY(turn.close_all());
    if (const long result = batch.result(call); result < 0)
        return fail(static_cast<int>(-result), "cannot connect two unix sockets");
    return {};
}

Result<> AsProcess::connect_to(const Fd &socket, const Fd &node) {
    if (husk_ == nullptr)
        return connect(socket, TRY(to_address(fmt::format("/proc/self/fd/{}", node.get()))));
    const auto address = TRY(to_address("/proc/self/fd/1")); // the second of the files
    Turn turn(*this, std::array{socket.get(), node.get()});
    const size_t call = turn.batch().may(SYS_connect, 0, turn.batch().put(address.address), address.size);
    TRY(turn.run());
    TRY(turn.close_all());
    if (const long result = turn.batch().result(call); result < 0)
        return fail(static_cast<int>(-result), "cannot connect two unix sockets");
    return {};
}

} // namespace abey::rebuild
