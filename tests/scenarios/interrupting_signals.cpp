// SPDX-License-Identifier: LGPL-2.1-or-later
// Programs that were stopped in a system call, and got a signal then: it comes when they go on, and ends the call or
// lets it begin again as signal(7) says.
#include "scenario.h"

#include <array>
#include <ctime>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

namespace {

constexpr int patience_ms = 20000;

volatile sig_atomic_t handled = 0;
int ends[2];

void handle(int flags) {
    struct sigaction action = {};
    action.sa_handler = [](int) { handled = handled + 1; };
    action.sa_flags = flags;
    SYS(::sigaction(SIGUSR1, &action, nullptr));
}

void expect_interruption(long result) {
    EQUAL(-1, result);
    EQUAL(EINTR, errno);
    EQUAL(1, static_cast<int>(handled));
}

void in_pause() { expect_interruption(::pause()); }

void in_sigsuspend() {
    sigset_t set, before;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR1);
    SYS(::sigprocmask(SIG_BLOCK, &set, &before));
    expect_interruption(::sigsuspend(&before));
}

void in_read() {
    char byte = 0;
    expect_interruption(::read(ends[0], &byte, 1));
}

void in_read_that_begins_again() {
    handle(SA_RESTART);
    char byte = 0;
    EQUAL(1, ::read(ends[0], &byte, 1));
    EQUAL(1, static_cast<int>(handled));
}

void in_nanosleep() {
    const timespec long_time = {3600, 0};
    timespec left = {};
    expect_interruption(::nanosleep(&long_time, &left));
    CHECK(left.tv_sec > 3000);
}

void in_poll() {
    handle(SA_RESTART); // never begun again
    pollfd entry = {-1, POLLIN, 0};
    expect_interruption(::poll(&entry, 1, 3600 * 1000));
}

void in_select() {
    timeval time = {3600, 0};
    expect_interruption(::select(0, nullptr, nullptr, nullptr, &time));
}

void in_epoll(int timeout) {
    const int epoll = SYS(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event = {};
    expect_interruption(::epoll_wait(epoll, &event, 1, timeout));
}
void in_endless_epoll() { in_epoll(-1); }
void in_epoll_with_an_end() { in_epoll(3600 * 1000); }

struct Case {
    void (*call)() = nullptr;
    bool ends_by_byte = false;
    pid_t pid = 0;
};

bool sleeps(pid_t pid) { // in a call, and not in one of those before it
    const std::string stat = scenario::read_file("/proc/" + std::to_string(pid) + "/stat");
    return stat.find(") S ") != std::string::npos;
}

void await_end(const Case &one, size_t number) {
    int status = 0;
    for (int waited = 0; ::waitpid(one.pid, &status, WNOHANG) == 0; ++waited) {
        if (waited > patience_ms)
            scenario::failed(__FILE__, __LINE__, "call " + std::to_string(number) + " goes on");
        ::usleep(1000);
    }
    EQUAL(0, status);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    std::array<Case, 9> cases = {{{in_pause},
                                  {in_sigsuspend},
                                  {in_read},
                                  {in_nanosleep},
                                  {in_poll},
                                  {in_select},
                                  {in_endless_epoll},
                                  {in_epoll_with_an_end},
                                  {in_read_that_begins_again, true}}};
    SYS(::pipe(ends));
    for (Case &one : cases) {
        one.pid = scenario::fork_child();
        if (one.pid == 0) {
            handle(0);
            one.call();
            ::_exit(0);
        }
    }
    ::usleep(100000);
    for (const Case &one : cases) {
        while (!sleeps(one.pid))
            ::usleep(1000);
        SYS(::kill(one.pid, SIGSTOP));
        EQUAL(one.pid, ::waitpid(one.pid, nullptr, WUNTRACED));
        SYS(::kill(one.pid, SIGUSR1));
    }
    scenario::ready();
    scenario::wait();
    for (size_t i = 0; i < cases.size(); ++i) {
        SYS(::kill(cases.at(i).pid, SIGCONT));
        if (cases.at(i).ends_by_byte) {
            ::usleep(50000);
            EQUAL(1, ::write(ends[1], "b", 1));
        }
        await_end(cases.at(i), i);
    }
    scenario::pass();
}
