// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes in pid namespaces of their own, one within another: their ids at each level, the first process and its
// orphans, sessions, process groups and zombies there, threads, the sender of a signal that waits, the /proc of such a
// namespace, a process whose children are in another one than itself.
#include "scenario.h"

#include <atomic>
#include <thread>

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

namespace {

struct Pipe {
    int ends[2] = {};
    Pipe() { SYS(::pipe(ends)); }
    void tell() const { SYS(::write(ends[1], "x", 1)); }
    void wait() const {
        char byte = 0;
        ssize_t got = 0;
        while ((got = ::read(ends[0], &byte, 1)) < 0)
            EQUAL(EINTR, errno);
        EQUAL(1, got);
    }
};

std::string ids_of(const std::string &proc) {
    std::istringstream in(scenario::read_file(proc + "/status"));
    std::string all;
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("NS"))
            all += line + "; ";
    return all;
}

std::string link_of(const std::string &path) {
    char target[4096] = {};
    const ssize_t size = SYS(::readlink(path.c_str(), target, sizeof target - 1));
    return {target, static_cast<size_t>(size)};
}

// The first process of a namespace within the other.
void innermost(const Pipe &ready, const Pipe &go) {
    EQUAL(1, ::getpid());
    sigset_t signals = {};
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGUSR1);
    SYS(::sigprocmask(SIG_BLOCK, &signals, nullptr));
    const pid_t child = SYS(::fork());
    if (child == 0) {
        SYS(::setsid());
        EQUAL(2, ::getpid());
        SYS(::kill(1, SIGUSR1));
        for (;;)
            ::pause();
    }
    for (sigset_t waiting = {}; ::sigismember(&waiting, SIGUSR1) != 1; ::sigpending(&waiting))
        ::usleep(1000);
    ready.tell();
    go.wait();
    EQUAL(1, ::getpid());
    EQUAL(0, ::getppid());
    EQUAL(2, child);
    siginfo_t info = {};
    EQUAL(SIGUSR1, ::sigwaitinfo(&signals, &info));
    EQUAL(child, info.si_pid);
    EQUAL(child, ::getsid(child));
    SYS(::kill(child, SIGKILL));
    EQUAL(128 + SIGKILL, scenario::exit_status(child));
}

// The first process of the outer one, with a /proc of that.
void first(const Pipe &ready, const Pipe &go, const Pipe &inner_go, const std::string &proc) {
    EQUAL(1, ::getpid());
    EQUAL(0, ::getppid());
    SYS(::unshare(CLONE_NEWNS));
    SYS(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    SYS(::mount("proc", proc.c_str(), "proc", 0, nullptr));
    const Pipe orphan_ready, leader_ready, inner_ready, thread_ready;
    static const Pipe orphan_go;
    // an orphan, which is ours then
    const pid_t middle = SYS(::fork());
    if (middle == 0) {
        const pid_t orphan = SYS(::fork());
        if (orphan != 0)
            ::_exit(0);
        while (::getppid() != 1)
            ::usleep(1000);
        orphan_ready.tell();
        orphan_go.wait();
        ::_exit(::getppid() == 1 && ::getpid() == 3 ? 33 : 1);
    }
    EQUAL(0, scenario::exit_status(middle));
    orphan_ready.wait();
    // a session with a group in it, and a zombie
    const pid_t leader = SYS(::fork());
    if (leader == 0) {
        SYS(::setsid());
        const pid_t member = SYS(::fork());
        if (member == 0) {
            SYS(::setpgid(0, 0));
            for (;;)
                ::pause();
        }
        SYS(::setpgid(member, member));
        const pid_t zombie = SYS(::fork());
        if (zombie == 0)
            ::_exit(44);
        siginfo_t info = {};
        SYS(::waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT));
        leader_ready.tell();
        orphan_go.wait();
        EQUAL(member, ::getpgid(member));
        EQUAL(::getpid(), ::getsid(member));
        EQUAL(44, scenario::exit_status(zombie));
        SYS(::kill(-member, SIGKILL));
        EQUAL(128 + SIGKILL, scenario::exit_status(member));
        ::_exit(0);
    }
    leader_ready.wait();
    const auto inner = static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, 0));
    if (inner == 0) {
        innermost(inner_ready, inner_go);
        ::_exit(0);
    }
    inner_ready.wait();
    static std::atomic<pid_t> tid = 0;
    static std::atomic<bool> end = false;
    static std::atomic<bool> same = false;
    std::thread thread([&] {
        tid = ::gettid();
        thread_ready.tell();
        while (!end)
            ::usleep(1000);
        same = tid == ::gettid();
    });
    thread_ready.wait();
    const std::string ids = ids_of(proc + "/self"), inner_ids = ids_of(proc + "/" + std::to_string(inner));
    ready.tell();
    go.wait();

    EQUAL(1, ::getpid());
    EQUAL(0, ::getppid());
    EQUAL(ids, ids_of(proc + "/self"));
    EQUAL(inner_ids, ids_of(proc + "/" + std::to_string(inner)));
    EQUAL(std::string("1"), link_of(proc + "/self"));
    end = true;
    thread.join();
    CHECK(same);
    orphan_go.tell();
    orphan_go.tell();
    EQUAL(33, scenario::exit_status(3));
    EQUAL(0, scenario::exit_status(leader));
    inner_go.tell();
    EQUAL(0, scenario::exit_status(inner));
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string proc = scenario::path("proc");
    SYS(::mkdir(proc.c_str(), 0755));
    static const Pipe go, inner_go, second_go;
    const Pipe first_ready, second_ready;
    // this process stays where it is, its children are in the new one
    const pid_t maker = scenario::fork_child();
    if (maker == 0) {
        SYS(::unshare(CLONE_NEWPID));
        const pid_t init = SYS(::fork());
        if (init == 0) {
            first(first_ready, go, inner_go, proc);
            ::_exit(0);
        }
        first_ready.wait(); // ids there are counted on
        const pid_t second = SYS(::fork());
        if (second == 0) {
            const pid_t own = ::getpid();
            second_ready.tell();
            second_go.wait();
            EQUAL(own, ::getpid());
            EQUAL(0, ::getppid());
            ::_exit(0);
        }
        EQUAL(0, scenario::exit_status(second));
        const pid_t third = SYS(::fork()); // still there
        if (third == 0)
            ::_exit(::getpid() > 5 && ::getppid() == 0 ? 0 : 1);
        EQUAL(0, scenario::exit_status(third));
        go.tell();
        EQUAL(0, scenario::exit_status(init));
        EQUAL(-1, ::fork()); // it has ended
        EQUAL(ENOMEM, errno);
        ::_exit(0);
    }
    second_ready.wait();
    const std::string children = "/proc/" + std::to_string(maker) + "/task/" + std::to_string(maker) + "/children";
    const auto all = [&] {
        std::istringstream pids(scenario::read_file(children));
        std::string text;
        for (pid_t pid = 0; pids >> pid;)
            text += ids_of("/proc/" + std::to_string(pid));
        return text;
    };
    const std::string before = all();
    scenario::ready();
    scenario::wait();

    EQUAL(before, all());
    second_go.tell();
    inner_go.tell();
    EQUAL(0, scenario::exit_status(maker));
    scenario::pass();
}
