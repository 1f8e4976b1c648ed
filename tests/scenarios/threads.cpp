// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads go on counting, keep tid, name and thread-local storage, and can be joined.
#include "scenario.h"

#include <array>
#include <atomic>
#include <pthread.h>
#include <sys/syscall.h>

namespace {

thread_local long own = 0;
std::atomic<bool> stop = false;

struct Thread {
    pthread_t handle = {};
    std::atomic<long> tid = 0;
    std::atomic<long> count = 0;
    long number = 0;
};

void *run(void *argument) {
    auto &thread = *static_cast<Thread *>(argument);
    own = 1000 + thread.number;
    const std::string name = "worker-" + std::to_string(thread.number);
    pthread_setname_np(pthread_self(), name.c_str());
    const pthread_t self = pthread_self();
    thread.tid = ::syscall(SYS_gettid);
    while (!stop) {
        ++thread.count;
        ::usleep(1000);
    }
    EQUAL(1000 + thread.number, own);
    EQUAL(thread.tid.load(), ::syscall(SYS_gettid));
    CHECK(pthread_equal(self, pthread_self()));
    char found[16] = {};
    pthread_getname_np(pthread_self(), found, sizeof found);
    EQUAL(name, std::string(found));
    return reinterpret_cast<void *>(thread.number + 7);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    static std::array<Thread, 4> threads;
    for (std::size_t i = 0; i < threads.size(); ++i) {
        threads[i].number = static_cast<long>(i);
        EQUAL(0, pthread_create(&threads[i].handle, nullptr, run, &threads[i]));
    }
    for (auto &thread : threads)
        while (thread.count == 0)
            ::usleep(1000);
    scenario::ready();
    scenario::wait();
    for (auto &thread : threads) {
        const long before = thread.count;
        for (int i = 0; i < 2000 && thread.count == before; ++i)
            ::usleep(1000);
        CHECK(thread.count > before);
    }
    stop = true;
    for (auto &thread : threads) {
        void *result = nullptr;
        EQUAL(0, pthread_join(thread.handle, &result));
        EQUAL(thread.number + 7, reinterpret_cast<long>(result));
    }
    scenario::pass();
}
