// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes whose first thread has ended while others run: the root itself, and a child that ends with its last thread.
// What they hold is there, and a grandchild does not hear of its parent's end.
#include "scenario.h"

#include <atomic>
#include <cstdint>
#include <thread>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace {

constexpr int status_of_first = 7, status_of_last = 5;

std::atomic<bool> parent_ended = false;
std::atomic<int> word = 41;
pid_t child = 0;
int lock_file = -1;
int pipe_ends[2];

std::string own_file(pid_t pid, const std::string &name) {
    return scenario::read_file("/proc/" + std::to_string(pid) + "/" + name);
}

char state_of(pid_t pid, pid_t tid) {
    const std::string stat = own_file(pid, "task/" + std::to_string(tid) + "/stat");
    const size_t at = stat.rfind(") ");
    return at == std::string::npos ? '?' : stat[at + 2];
}

void await_end_of_first(pid_t pid) {
    while (state_of(pid, pid) != 'Z')
        ::usleep(1000);
}

void start(void (*function)()) { std::thread(function).detach(); }

[[noreturn]] void end_first() {
    SYS(::prctl(PR_SET_NAME, "first"));
    ::syscall(SYS_exit, status_of_first);
    ::_exit(99);
}

// In a process that has lost its first thread, by one of the others.
void check_process(size_t threads) {
    const pid_t pid = ::getpid();
    CHECK(::gettid() != pid);
    EQUAL('Z', state_of(pid, pid));
    EQUAL("first\n", own_file(pid, "task/" + std::to_string(pid) + "/comm"));
    EQUAL("first\n", own_file(pid, "comm"));
    const std::string status = own_file(pid, "status");
    CHECK(status.find("\nThreads:\t" + std::to_string(threads) + "\n") != std::string::npos);
    CHECK(status.find("\nTracerPid:\t0\n") != std::string::npos);
    const std::string stat = own_file(pid, "task/" + std::to_string(pid) + "/stat");
    CHECK(stat.ends_with(" " + std::to_string(status_of_first << 8) + "\n"));
    CHECK(status.find("\nUid:\t0\t0\t0\t0\n") != std::string::npos);
}

void counter() {
    while (word == 41)
        ::usleep(1000);
    word = 43;
    ::syscall(SYS_exit, 3);
}

void child_worker() {
    await_end_of_first(::getpid());
    const pid_t grandchild = SYS(::fork());
    if (grandchild == 0) {
        SYS(::prctl(PR_SET_PDEATHSIG, SIGUSR1));
        struct sigaction action = {};
        action.sa_handler = [](int) { parent_ended = true; };
        SYS(::sigaction(SIGUSR1, &action, nullptr));
        char byte = 0;
        SYS(::close(pipe_ends[1]));
        while (::read(pipe_ends[0], &byte, 1) < 0)
            ::usleep(1000);
        ::_exit(parent_ended ? 1 : 0);
    }
    SYS(::close(pipe_ends[0]));
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    SYS(::fcntl(lock_file, F_SETLK, &lock));
    scenario::write_file(scenario::path("child-ready"), "yes");
    scenario::wait();
    check_process(3);
    word = 42;
    while (word != 43)
        ::usleep(1000);
    EQUAL(1, ::write(pipe_ends[1], "e", 1));
    EQUAL(0, scenario::exit_status(grandchild));
    while (own_file(::getpid(), "status").find("\nThreads:\t2\n") == std::string::npos)
        ::usleep(1000);
    ::syscall(SYS_exit, status_of_last);
}

void root_worker() {
    await_end_of_first(::getpid());
    while (scenario::read_file(scenario::path("child-ready")) != "yes")
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    check_process(2);
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    SYS(::fcntl(lock_file, F_GETLK, &lock));
    EQUAL(F_WRLCK, lock.l_type);
    EQUAL(child, lock.l_pid);
    SYS(::kill(child, SIGTERM));
    EQUAL(status_of_last, scenario::exit_status(child));
    scenario::pass();
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    lock_file = SYS(::open(scenario::path("locked").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    SYS(::pipe(pipe_ends));
    child = scenario::fork_child();
    if (child == 0) {
        start(child_worker); // first: the kernel gives it the children of the first thread at that one's end
        start(counter);
        end_first();
    }
    SYS(::close(pipe_ends[0]));
    SYS(::close(pipe_ends[1]));
    start(root_worker);
    end_first();
}
