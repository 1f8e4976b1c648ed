// SPDX-License-Identifier: LGPL-2.1-or-later
// What the C library has told the kernel of a thread: restartable sequences, robust futexes, the tid's address.
#include "scenario.h"

#include <atomic>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

namespace {

pthread_mutex_t mutex;
std::atomic<int> stage = 0;

void *run(void *) {
    robust_list_head *head = nullptr;
    std::size_t size = 0;
    SYS(::syscall(SYS_get_robust_list, 0, &head, &size));
    EQUAL(0, pthread_mutex_lock(&mutex));
    stage = 1;
    while (stage != 2)
        ::usleep(1000);
    robust_list_head *now = nullptr;
    SYS(::syscall(SYS_get_robust_list, 0, &now, &size));
    EQUAL(head, now);
    return nullptr; // dies with the mutex
}

unsigned cpu_of_rseq() {
    const auto *area =
        reinterpret_cast<volatile struct rseq *>(static_cast<char *>(__builtin_thread_pointer()) + __rseq_offset);
    return area->cpu_id;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    EQUAL(0, pthread_mutex_init(&mutex, &attributes));
    pthread_t thread = {};
    EQUAL(0, pthread_create(&thread, nullptr, run, nullptr));
    while (stage != 1)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    stage = 2;
    EQUAL(0, pthread_join(thread, nullptr)); // the kernel clears the tid and wakes us
    EQUAL(EOWNERDEAD, pthread_mutex_lock(&mutex));
    if (__rseq_size > 0) {
        cpu_set_t all;
        SYS(::sched_getaffinity(0, sizeof all, &all));
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &all))
                continue;
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            SYS(::sched_setaffinity(0, sizeof one, &one));
            EQUAL(cpu, cpu_of_rseq());
        }
    }
    scenario::pass();
}
