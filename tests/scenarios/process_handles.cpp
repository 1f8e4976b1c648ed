// SPDX-License-Identifier: LGPL-2.1-or-later
// pidfds of processes that live, have ended and have been waited for; files of /proc/PID of the same; namespaces.
#include "scenario.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

namespace {

int open_pidfd(pid_t pid, unsigned flags) { return static_cast<int>(SYS(::syscall(SYS_pidfd_open, pid, flags))); }

int send_signal(int pidfd, int signal) {
    return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0));
}

bool has_ended(int pidfd) {
    pollfd poll = {pidfd, POLLIN, 0};
    return SYS(::poll(&poll, 1, 0)) == 1;
}

std::string text_of(int fd) {
    std::string text(65536, '\0');
    const ssize_t size = ::read(fd, text.data(), text.size());
    if (size < 0)
        return std::string("error: ") + ::strerror(errno);
    text.resize(static_cast<size_t>(size));
    return text;
}

ino_t inode_of(int fd) {
    struct stat st = {};
    SYS(::fstat(fd, &st));
    return st.st_ino;
}

ino_t inode_of(const std::string &path) {
    struct stat st = {};
    SYS(::stat(path.c_str(), &st));
    return st.st_ino;
}

pid_t sleeper() {
    const pid_t child = scenario::fork_child();
    if (child == 0)
        for (;;)
            ::pause();
    return child;
}

std::string proc(pid_t pid, const std::string &name) { return "/proc/" + std::to_string(pid) + "/" + name; }

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const pid_t child = sleeper(), zombie = sleeper(), gone = sleeper();
    const int self = open_pidfd(::getpid(), 0);
    const int first = SYS(::open("/proc/1/comm", O_RDONLY)); // outside, but there always is one
    const int of_child = open_pidfd(child, O_NONBLOCK);
    const int same = SYS(::dup(of_child));
    const int of_zombie = open_pidfd(zombie, 0);
    const int of_gone = open_pidfd(gone, 0);
    const int gone_too = open_pidfd(gone, 0);
    const bool have_inodes = inode_of(of_gone) != inode_of(of_zombie); // Linux 6.9

    const int status = SYS(::open("/proc/self/status", O_RDONLY));
    char start[6] = {};
    EQUAL(5, ::read(status, start, 5));
    EQUAL(std::string("Name:"), std::string(start));
    const int maps = SYS(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
    const std::string thread = "task/" + std::to_string(::getpid()) + "/comm";
    const int comm = SYS(::open(proc(::getpid(), thread).c_str(), O_RDWR));
    const int directory = SYS(::open(proc(child, "").c_str(), O_RDONLY | O_DIRECTORY));
    const int place = SYS(::open(proc(child, "fd").c_str(), O_PATH));
    const int of_dead = SYS(::open(proc(gone, "stat").c_str(), O_RDONLY));
    const int dead = SYS(::open(proc(gone, "").c_str(), O_RDONLY | O_DIRECTORY));
    const int whole = SYS(::open("/proc/meminfo", O_RDONLY));
    const int net = SYS(::open("/proc/self/ns/net", O_RDONLY));
    const int pids = SYS(::open(proc(child, "ns/pid").c_str(), O_RDONLY | O_CLOEXEC));

    SYS(::kill(zombie, SIGKILL));
    CHECK(SYS(::waitid(P_PID, static_cast<id_t>(zombie), nullptr, WEXITED | WNOWAIT)) == 0);
    SYS(::kill(gone, SIGKILL));
    EQUAL(128 + SIGKILL, scenario::exit_status(gone));
    scenario::ready();
    scenario::wait();

    EQUAL(false, has_ended(self));
    EQUAL(false, has_ended(of_child));
    EQUAL(true, has_ended(of_zombie));
    EQUAL(true, has_ended(of_gone));
    EQUAL(inode_of(of_gone), inode_of(gone_too));
    EQUAL(have_inodes, inode_of(of_gone) != inode_of(of_zombie));
    EQUAL(0, send_signal(self, 0));
    EQUAL(0, send_signal(same, 0));
    EQUAL(-1, send_signal(of_gone, 0));
    EQUAL(ESRCH, errno);
    EQUAL(O_NONBLOCK, ::fcntl(of_child, F_GETFL) & O_NONBLOCK);
    EQUAL(0, ::fcntl(self, F_GETFL) & O_NONBLOCK);

    EQUAL(scenario::read_file("/proc/1/comm"), text_of(first));
    EQUAL(0, text_of(status).find("\tscenario"));
    EQUAL(0, SYS(::lseek(status, 0, SEEK_SET)));
    CHECK(text_of(status).find("\nPid:\t" + std::to_string(::getpid()) + "\n") != std::string::npos);
    std::string all, part;
    while (!(part = text_of(maps)).empty())
        all += part;
    CHECK(all.find("scenario-process_handles") != std::string::npos);
    CHECK(all.find("[stack]") != std::string::npos);
    EQUAL(5, ::write(comm, "fresh", 5));
    EQUAL(std::string("fresh\n"), scenario::read_file("/proc/self/comm"));
    EQUAL(std::string("scenario-proces\n"), text_of(SYS(::openat(directory, "comm", O_RDONLY))));
    const int listed = SYS(::openat(place, ".", O_RDONLY | O_DIRECTORY));
    CHECK(::faccessat(listed, "0", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    EQUAL(std::string("error: No such process"), text_of(of_dead));
    EQUAL(-1, ::openat(dead, "stat", O_RDONLY));
    CHECK(text_of(whole).starts_with("MemTotal:"));
    EQUAL(inode_of("/proc/self/ns/net"), inode_of(net));
    EQUAL(inode_of("/proc/self/ns/pid"), inode_of(pids));
    EQUAL(FD_CLOEXEC, ::fcntl(pids, F_GETFD));

    siginfo_t info = {};
    EQUAL(0, send_signal(same, SIGTERM));
    EQUAL(0, ::kill(child, SIGKILL)); // SIGTERM is blocked in a scenario
    EQUAL(0, ::waitid(static_cast<idtype_t>(3 /* P_PIDFD */), static_cast<id_t>(of_zombie), &info, WEXITED));
    EQUAL(zombie, info.si_pid);
    EQUAL(SIGKILL, info.si_status);
    EQUAL(128 + SIGKILL, scenario::exit_status(child));
    EQUAL(true, has_ended(of_child));
    scenario::pass();
}
