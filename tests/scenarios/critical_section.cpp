// SPDX-License-Identifier: LGPL-2.1-or-later
// A restartable sequence that is interrupted anywhere within must be aborted, not gone on with.
#include "scenario.h"

#include <array>
#include <atomic>
#include <pthread.h>
#include <sys/rseq.h>

namespace {

// The section stores a number, spends nearly all its time, and must see the kernel's mark of itself at its end; when it
// was interrupted in between it must come out at the abort address. Either is right; coming to the end without the mark
// is not.
enum class Way { committed, aborted };

Way run_once(volatile struct rseq *area, uint64_t &mark_at_end) {
    uint64_t mark = 0;
    asm volatile goto(".pushsection __rseq_cs, \"aw\"\n\t"
                      ".balign 32\n"
                      "3:\n\t"
                      ".long 0, 0\n\t"
                      ".quad 1f, 2f - 1f, 4f\n\t"
                      ".popsection\n\t"
                      "leaq 3b(%%rip), %%rax\n"
                      "1:\n\t"
                      "movq %%rax, %[section]\n\t"
                      "movq $20000000, %%rcx\n"
                      "5:\n\t"
                      "decq %%rcx\n\t"
                      "jnz 5b\n\t"
                      "movq %[section], %%rax\n\t"
                      "movq %%rax, %[mark]\n"
                      "2:\n\t"
                      ".pushsection __rseq_failure, \"ax\"\n\t"
                      ".byte 0x0f, 0xb9, 0x3d\n\t"
                      ".long 0x53053053\n"
                      "4:\n\t"
                      "jmp %l[aborted]\n\t"
                      ".popsection\n\t"
                      :
                      : [section] "m"(area->rseq_cs), [mark] "m"(mark)
                      : "memory", "cc", "rax", "rcx"
                      : aborted);
    mark_at_end = mark;
    return Way::committed;
aborted:
    return Way::aborted;
}

std::atomic<bool> stop = false;
std::atomic<long> wrong = 0;
std::atomic<long> rounds = 0;

void *run(void *) {
    auto *area =
        reinterpret_cast<volatile struct rseq *>(static_cast<char *>(__builtin_thread_pointer()) + __rseq_offset);
    while (!stop) {
        uint64_t mark = 0;
        if (run_once(area, mark) == Way::committed && mark == 0)
            ++wrong;
        ++rounds;
    }
    return nullptr;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    if (__rseq_size == 0)
        return 77;
    std::array<pthread_t, 2> threads = {};
    for (auto &thread : threads)
        EQUAL(0, pthread_create(&thread, nullptr, run, nullptr));
    while (rounds == 0)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    const long before = rounds;
    while (rounds < before + 10)
        ::usleep(1000);
    stop = true;
    for (const auto &thread : threads)
        EQUAL(0, pthread_join(thread, nullptr));
    EQUAL(0, wrong.load());
    scenario::pass();
}
