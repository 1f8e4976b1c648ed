// SPDX-License-Identifier: LGPL-2.1-or-later
// What a process carries besides: umask, limits, nice (also of the scheduler's group of its session), policy, affinity,
// personality, cwd, oom score, death signal.
#include "scenario.h"

#include <algorithm>

#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace {

std::string here() {
    char name[4096] = {};
    (void)!::readlink("/proc/self/cwd", name, sizeof name - 1);
    return name;
}

// sched(7): the group of all that share a session, and its own nice value
std::string nice_of_session(const std::string &pid) {
    const std::string text = scenario::read_file("/proc/" + pid + "/autogroup");
    return text.substr(std::min(text.find(" nice "), text.size()));
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    SYS(::mkdir(scenario::path("somewhere").c_str(), 0755));
    SYS(::chdir(scenario::path("somewhere").c_str()));
    ::umask(0123);
    const rlimit files = {123, 456};
    SYS(::setrlimit(RLIMIT_NOFILE, &files));
    const rlimit core = {0, RLIM_INFINITY};
    SYS(::setrlimit(RLIMIT_CORE, &core));
    SYS(::setpriority(PRIO_PROCESS, 0, 7));
    const sched_param parameter = {};
    SYS(::sched_setscheduler(0, SCHED_BATCH, &parameter));
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    SYS(::sched_setaffinity(0, sizeof cpus, &cpus));
    SYS(::personality(ADDR_NO_RANDOMIZE));
    scenario::write_file("/proc/self/oom_score_adj", "321");
    ::signal(SIGUSR2, SIG_IGN); // NOLINT: it comes, the first parent ends when we are ready
    SYS(::prctl(PR_SET_PDEATHSIG, SIGUSR2));
    SYS(::prctl(PR_SET_TIMERSLACK, 123456));
    SYS(::prctl(PR_SET_CHILD_SUBREAPER, 1));
    SYS(::prctl(PR_SET_DUMPABLE, 0));
    SYS(::syscall(SYS_membarrier, 1 << 4, 0, 0)); // MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
    scenario::write_file("/proc/self/coredump_filter", "0x5");
    SYS(::prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    SYS(::prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
    const int controlled = ::prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
    if (controlled > 0 && (controlled & PR_SPEC_PRCTL) != 0)
        SYS(::prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, PR_SPEC_DISABLE, 0, 0));
    const int speculation = ::prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
    (void)::prctl(67, 1, 0, 0, 0); // PR_SET_MEMORY_MERGE, where there is KSM
    const int merge = ::prctl(68, 0, 0, 0, 0);
    (void)::prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0); // PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18
    const int huge_pages = ::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
    const bool flushes = ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0; // with CAP_SYS_RESOURCE
    const bool has_groups = !nice_of_session("self").empty();
    const pid_t other = scenario::fork_child();
    if (other == 0) {
        ::setsid();
        ::raise(SIGSTOP);
        ::_exit(0);
    }
    int stopped = 0;
    EQUAL(other, SYS(::waitpid(other, &stopped, WUNTRACED)));
    if (has_groups) {
        scenario::write_file("/proc/self/autogroup", "5");
        scenario::write_file("/proc/" + std::to_string(other) + "/autogroup", "-7");
    }
    const bool can_deny = ::prctl(65, 1, 0, 0, 0) == 0; // PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN
    const std::string directory = here();
    scenario::ready();
    scenario::wait();
    EQUAL(directory, here());
    EQUAL(0123, ::umask(0));
    rlimit found = {};
    SYS(::getrlimit(RLIMIT_NOFILE, &found));
    EQUAL(123, found.rlim_cur);
    EQUAL(456, found.rlim_max);
    SYS(::getrlimit(RLIMIT_CORE, &found));
    EQUAL(0, found.rlim_cur);
    EQUAL(RLIM_INFINITY, found.rlim_max);
    EQUAL(7, ::getpriority(PRIO_PROCESS, 0));
    EQUAL(SCHED_BATCH, ::sched_getscheduler(0));
    CPU_ZERO(&cpus);
    SYS(::sched_getaffinity(0, sizeof cpus, &cpus));
    EQUAL(1, CPU_COUNT(&cpus));
    CHECK(CPU_ISSET(0, &cpus));
    EQUAL(ADDR_NO_RANDOMIZE, ::personality(0xffffffff));
    SYS(::syscall(SYS_membarrier, 1 << 3, 0, 0)); // MEMBARRIER_CMD_PRIVATE_EXPEDITED, for the registered only
    int signal = 0;
    SYS(::prctl(PR_GET_PDEATHSIG, &signal));
    EQUAL(SIGUSR2, signal);
    EQUAL(123456, ::prctl(PR_GET_TIMERSLACK));
    int reaper = 0;
    SYS(::prctl(PR_GET_CHILD_SUBREAPER, &reaper));
    EQUAL(1, reaper);
    EQUAL(0, ::prctl(PR_GET_DUMPABLE));
    EQUAL(std::string("00000005\n"), scenario::read_file("/proc/self/coredump_filter"));
    EQUAL(PR_MCE_KILL_EARLY, ::prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    int counter = 0;
    SYS(::prctl(PR_GET_TSC, &counter));
    EQUAL(PR_TSC_SIGSEGV, counter);
    EQUAL(speculation, ::prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0));
    EQUAL(merge, ::prctl(68, 0, 0, 0, 0));
    EQUAL(huge_pages, ::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    EQUAL(flushes ? 1 : -1, ::prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0));
    if (has_groups) {
        EQUAL(std::string(" nice 5\n"), nice_of_session("self"));
        EQUAL(std::string(" nice -7\n"), nice_of_session(std::to_string(other)));
    }
    SYS(::kill(other, SIGKILL));
    EQUAL(128 + SIGKILL, scenario::exit_status(other));
    EQUAL(can_deny ? 1 : -1, ::prctl(66, 0, 0, 0, 0));
    SYS(::prctl(PR_SET_DUMPABLE, 1));
    EQUAL(std::string("321\n"), scenario::read_file("/proc/self/oom_score_adj"));
    scenario::pass();
}
