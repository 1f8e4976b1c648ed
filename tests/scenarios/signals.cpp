// SPDX-License-Identifier: LGPL-2.1-or-later
// Signal actions, masks, pending signals and queued values in their order, alternate stack.
#include "scenario.h"

#include <vector>

namespace {

std::vector<int> values;           // NOLINT
volatile uintptr_t handled_on = 0; // where the handler's stack was
volatile int usr1 = 0;
char stack[64 * 1024];

void on_value(int, siginfo_t *info, void *) { values.push_back(info->si_value.sival_int); }
void on_usr1(int) {
    handled_on = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    usr1 = usr1 + 1;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    values.reserve(100);
    struct sigaction action = {};
    action.sa_sigaction = on_value;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    SYS(::sigaction(SIGRTMIN + 3, &action, nullptr));
    struct sigaction usr = {};
    usr.sa_handler = on_usr1;
    usr.sa_flags = SA_ONSTACK;
    SYS(::sigaction(SIGUSR1, &usr, nullptr));
    ::signal(SIGHUP, SIG_IGN); // NOLINT
    const stack_t alternate = {stack, 0, sizeof stack};
    SYS(::sigaltstack(&alternate, nullptr));
    sigset_t mask;
    sigemptyset(&mask);
    for (const int number : {SIGTERM, SIGUSR1, SIGRTMIN + 3, SIGWINCH})
        sigaddset(&mask, number);
    SYS(::sigprocmask(SIG_SETMASK, &mask, nullptr));
    for (int i = 1; i <= 5; ++i)
        SYS(::sigqueue(::getpid(), SIGRTMIN + 3, {.sival_int = i * 10})); // of the process
    SYS(::raise(SIGUSR1));                                                // of the thread
    scenario::ready();
    scenario::wait();

    sigset_t found;
    SYS(::sigprocmask(SIG_BLOCK, nullptr, &found));
    for (int number = 1; number < 65; ++number)
        EQUAL(sigismember(&mask, number), sigismember(&found, number));
    sigset_t pending;
    SYS(::sigpending(&pending));
    EQUAL(1, sigismember(&pending, SIGUSR1));
    EQUAL(1, sigismember(&pending, SIGRTMIN + 3));
    EQUAL(0, sigismember(&pending, SIGWINCH));
    struct sigaction now = {};
    SYS(::sigaction(SIGRTMIN + 3, nullptr, &now));
    CHECK(now.sa_sigaction == on_value);
    EQUAL(SA_SIGINFO | SA_RESTART, now.sa_flags & ~0x04000000);
    EQUAL(1, sigismember(&now.sa_mask, SIGUSR2));
    EQUAL(0, sigismember(&now.sa_mask, SIGUSR1));
    SYS(::sigaction(SIGHUP, nullptr, &now));
    CHECK(now.sa_handler == SIG_IGN);
    stack_t where = {};
    SYS(::sigaltstack(nullptr, &where));
    EQUAL(alternate.ss_sp, where.ss_sp);
    EQUAL(alternate.ss_size, where.ss_size);

    sigset_t none;
    sigemptyset(&none);
    sigaddset(&none, SIGTERM);
    SYS(::sigprocmask(SIG_SETMASK, &none, nullptr));
    EQUAL(5, values.size());
    for (int i = 0; i < 5; ++i)
        EQUAL((i + 1) * 10, values[static_cast<std::size_t>(i)]);
    EQUAL(1, usr1);
    const auto begin = reinterpret_cast<uintptr_t>(stack);
    CHECK(handled_on >= begin && handled_on < begin + sizeof stack);
    scenario::pass();
}
