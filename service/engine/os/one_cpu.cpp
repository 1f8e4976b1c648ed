// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/one_cpu.h"

namespace abey::os {

const cpu_set_t &cpus_of_program() {
    static const cpu_set_t cpus = [] {
        cpu_set_t given;
        CPU_ZERO(&given);
        (void)::sched_getaffinity(0, sizeof given, &given); // more CPUs than the set can tell: it stays empty
        return given;
    }();
    return cpus;
}

OneCpu::OneCpu() {
    const int here = ::sched_getcpu();
    if (here < 0 || here >= CPU_SETSIZE || CPU_COUNT(&cpus_of_program()) < 2)
        return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(here), &one);
    pinned_ = ::sched_setaffinity(0, sizeof one, &one) == 0;
}

OneCpu::~OneCpu() {
    if (pinned_)
        use_all_cpus();
}

void use_all_cpus() {
    if (CPU_COUNT(&cpus_of_program()) > 0)
        (void)::sched_setaffinity(0, sizeof(cpu_set_t), &cpus_of_program());
}

} // namespace abey::os
