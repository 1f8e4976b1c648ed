// SPDX-License-Identifier: LGPL-2.1-or-later
//
// run COMMAND...: runs it and tells on stderr, in one JSON line, how it went: status, seconds, CPU seconds, peak memory
// in KiB. Being small itself matters: Linux counts what a process was before execve(2) into its peak memory.

#include <cstdio>
#include <ctime>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

double now() {
    timespec time = {};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double seconds(const timeval &time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    const double begin = now();
    const pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    int status = 0;
    rusage usage = {};
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("run");
        return 1;
    }
    const double elapsed = now() - begin;
    fprintf(stderr,
            R"({"status": %d, "seconds": %.6f, "cpu": %.6f, "peak": %ld})"
            "\n",
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), elapsed,
            seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
    return 0;
}
