// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Something to measure: load memory BYTES | tree PROCESSES | threads THREADS | descriptors DESCRIPTORS |
//                            file PATH BYTES clean|dirty
//
// Goes to the background in a session of its own, sets itself up, and only then lets the command that was started end
// with the pid of what stays on stdout. What stays holds nothing of the terminal and sleeps.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr size_t chunk_size = 1U << 20U;

[[noreturn]] void die(const char *what) {
    perror(what);
    _exit(1);
}

void check(bool good, const char *what) {
    if (!good)
        die(what);
}

// Not compressible, and different in each page.
void fill(std::vector<uint64_t> &words) {
    static std::mt19937_64 numbers(42);
    for (uint64_t &word : words)
        word = numbers();
}

void hold_memory(size_t size) {
    void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED, "mmap");
    std::vector<uint64_t> words(chunk_size / sizeof(uint64_t));
    fill(words);
    for (size_t offset = 0; offset < size; offset += chunk_size) {
        words[0] = offset;
        memcpy(static_cast<char *>(memory) + offset, words.data(), std::min(chunk_size, size - offset));
    }
}

// Ten descriptors beyond the standard ones, shared with no other process: files, a pipe, duplicates.
void hold_descriptors() {
    for (int count = 0; count < 4; ++count)
        check(open("/dev/null", O_RDWR | O_CLOEXEC) >= 0, "open /dev/null");
    for (int count = 0; count < 2; ++count)
        check(open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0, "open /etc/passwd");
    int ends[2];
    check(pipe2(ends, O_CLOEXEC) == 0, "pipe");
    check(dup(ends[0]) >= 0 && dup(ends[1]) >= 0, "dup");
}

[[noreturn]] void sleep_on() {
    for (;;)
        pause();
}

void say_nothing_more() {
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    check(null >= 0 && dup2(null, 2) == 2, "dup2");
    close(null);
}

// A child with descriptors of its own, once it has set itself up.
template <class SetUp> void fork_child(SetUp set_up) {
    int ready[2];
    check(pipe(ready) == 0, "pipe");
    const pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        check(dup2(ready[1], 3) == 3 && close_range(4, ~0U, 0) == 0, "close_range"); // nothing of the parent's
        set_up();
        say_nothing_more();
        check(write(3, "r", 1) == 1, "write");
        close(3);
        sleep_on();
    }
    close(ready[1]);
    char byte = 0;
    check(read(ready[0], &byte, 1) == 1, "a process of the tree has failed: read");
    close(ready[0]);
}

// Children of one parent; every one has its own descriptors before this returns.
void hold_tree(long processes) {
    for (long count = 1; count < processes; ++count)
        fork_child(hold_descriptors);
    hold_descriptors();
}

void hold_threads(long threads) {
    for (long count = 1; count < threads; ++count)
        std::thread(sleep_on).detach();
}

// No process has more than ten thousand of them: children of the first have the others.
void hold_many_descriptors(long descriptors) {
    constexpr long most = 10000;
    rlimit limit = {};
    check(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    const auto hold = [](long count) {
        for (; count > 0; --count)
            check(open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0, "open /etc/passwd");
    };
    for (long others = descriptors - most; others > 0; others -= most)
        fork_child([&] { hold(std::min(others, most)); });
    hold(std::min(descriptors, most));
}

void hold_deleted_file(const char *path, size_t size, bool clean) {
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    check(fd >= 0, path);
    std::vector<uint64_t> words(chunk_size / sizeof(uint64_t));
    fill(words);
    for (size_t offset = 0; offset < size; offset += chunk_size) {
        words[0] = offset;
        check(write(fd, words.data(), std::min(chunk_size, size - offset)) > 0, "write");
    }
    // what is measured is keeping the file, not the making of it
    check(!clean || syncfs(fd) == 0, "syncfs");
    check(unlink(path) == 0, "unlink");
}

void set_up(const std::vector<const char *> &arguments) {
    const std::string_view kind = arguments[1];
    if (kind == "memory" && arguments.size() == 3)
        hold_memory(strtoull(arguments[2], nullptr, 10));
    else if (kind == "tree" && arguments.size() == 3)
        hold_tree(strtol(arguments[2], nullptr, 10));
    else if (kind == "threads" && arguments.size() == 3)
        hold_threads(strtol(arguments[2], nullptr, 10));
    else if (kind == "descriptors" && arguments.size() == 3)
        hold_many_descriptors(strtol(arguments[2], nullptr, 10));
    else if (kind == "file" && arguments.size() == 5)
        hold_deleted_file(arguments[2], strtoull(arguments[3], nullptr, 10), std::string_view(arguments[4]) == "clean");
    else {
        fputs("usage: load memory BYTES | tree PROCESSES | threads THREADS | descriptors DESCRIPTORS | "
              "file PATH BYTES clean|dirty\n",
              stderr);
        _exit(2);
    }
}

} // namespace

int main(int argc, char **argv) {
    const std::vector<const char *> arguments(argv, argv + argc);
    int ready[2];
    if (argc < 2 || pipe2(ready, O_CLOEXEC) != 0)
        return 2;
    const pid_t child = fork();
    if (child == 0) {
        close(ready[0]);
        check(setsid() > 0 && chdir("/") == 0, "setsid");
        const int null = open("/dev/null", O_RDWR);
        check(null >= 0 && dup2(null, 0) == 0 && dup2(null, 1) == 1, "dup2");
        close(null);
        set_up(arguments);
        say_nothing_more();
        check(write(ready[1], "r", 1) == 1, "write");
        close(ready[1]);
        sleep_on();
    }
    close(ready[1]);
    char answer = 0;
    if (child < 0 || read(ready[0], &answer, 1) != 1)
        return 1;
    printf("%d\n", child);
    return 0;
}
