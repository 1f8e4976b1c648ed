// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What every scenario shares: a program sets something up, calls ready(), is told to go on by SIGTERM (at any time
// after, in between it may have been checkpointed and restored), checks what it had set up and leaves one line in its
// directory: PASS, or FAIL file:line: what, expected, found. It holds no descriptor, pipe or parent that leads to the
// runner.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <type_traits>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace scenario {

inline std::string directory;     // NOLINT: one program, one scenario
inline int ready_pipe = -1;       // NOLINT
inline bool told_already = false; // NOLINT

inline void write_file(const std::string &path, const std::string &text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        ::_exit(3);
    ::close(fd);
}

inline std::string read_file(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

inline std::string path(const std::string &name) { return directory + "/" + name; }

// The first verdict stands: a child that failed is not painted over by its parent.
inline void verdict(const std::string &text) {
    const std::string temporary = path("result." + std::to_string(::getpid()));
    write_file(temporary, text + "\n");
    (void)::link(temporary.c_str(), path("result").c_str());
    (void)::unlink(temporary.c_str());
}

[[noreturn]] inline void failed(const char *file, int line, const std::string &what) {
    verdict("FAIL " + std::string(::strrchr(file, '/') ? ::strrchr(file, '/') + 1 : file) + ":" + std::to_string(line) +
            ": " + what);
    ::_exit(1);
}

template <class T> std::string shown(const T &value) {
    if constexpr (std::is_convertible_v<T, std::string_view>) {
        return "'" + std::string(std::string_view(value)) + "'";
    } else if constexpr (std::is_pointer_v<T>) {
        std::ostringstream text;
        text << static_cast<const void *>(value);
        return text.str();
    } else if constexpr (std::is_enum_v<T>) {
        return std::to_string(static_cast<long>(value));
    } else {
        std::ostringstream text;
        text << +value;
        return text.str();
    }
}

template <class A, class B>
void equal(const char *file, int line, const char *what, const A &expected, const B &found) {
    if constexpr (std::is_integral_v<A> && std::is_integral_v<B>) {
        if (static_cast<long long>(expected) == static_cast<long long>(found))
            return;
    } else {
        if (expected == found)
            return;
    }
    failed(file, line, std::string(what) + ", expected " + shown(expected) + ", found " + shown(found));
}

#define EQUAL(expected, found) ::scenario::equal(__FILE__, __LINE__, #found, expected, found)
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ::scenario::failed(__FILE__, __LINE__, #condition ", expected true, found false");                         \
    } while (false)
// For a call of the kernel: its result, or the end with errno's text
#define SYS(call) ::scenario::succeeded(__FILE__, __LINE__, #call, call)

// With the NUL at its end.
inline void put_text(char *place, std::string_view text) {
    text.copy(place, text.size());
    place[text.size()] = '\0';
}

template <class T> T succeeded(const char *file, int line, const char *call, T result) {
    if ((long)result == -1) // NOLINT: a number or an address
        failed(file, line, std::string(call) + ", expected success, found " + ::strerror(errno));
    return result;
}

// To be called first. Goes into a session of its own; the caller's process ends with 0 when the child is ready.
inline void begin(int argc, char **argv) {
    if (argc < 2 || argv[1][0] != '/') {
        std::fprintf(stderr, "usage: %s /DIRECTORY\n", argv[0]);
        std::exit(2);
    }
    directory = argv[1];
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        std::exit(2);
    const pid_t child = ::fork();
    if (child < 0)
        std::exit(2);
    if (child > 0) {
        ::close(ends[1]);
        char byte = 0;
        ::_exit(::read(ends[0], &byte, 1) == 1 ? 0 : 1);
    }
    ::setsid();
    ::close(ends[0]);
    ready_pipe = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 900);
    ::close(ends[1]);
    const int null = ::open("/dev/null", O_RDWR);
    if (null < 0)
        ::_exit(3);
    for (int fd = 0; fd < 3; ++fd)
        ::dup2(null, fd);
    if (null > 2)
        ::close(null);
    sigset_t term;
    ::sigemptyset(&term);
    ::sigaddset(&term, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &term, nullptr);
    write_file(path("pid"), std::to_string(::getpid()) + "\n");
}

// To be called by the root process only, when nothing else of the scenario holds the pipe to the parent (see leave())
inline void ready() {
    const char byte = 1;
    if (::write(ready_pipe, &byte, 1) != 1)
        ::_exit(3);
    ::close(ready_pipe);
    ready_pipe = -1;
}

// True when SIGTERM has come within the given time. SIGTERM is blocked in all threads.
inline bool told(long milliseconds) {
    if (told_already)
        return true;
    sigset_t term;
    ::sigemptyset(&term);
    ::sigaddset(&term, SIGTERM);
    const timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    told_already = ::sigtimedwait(&term, nullptr, &time) == SIGTERM;
    return told_already;
}

inline void wait() {
    while (!told(100)) {
    }
}

// For children: the root's pipe is not theirs
inline pid_t fork_child() {
    // Back in the parent, the child has let go of the pipe: whoever looks at its descriptors later sees it so.
    int done[2];
    SYS(::pipe(done));
    const pid_t child = SYS(::fork());
    if (child == 0) {
        if (ready_pipe >= 0)
            ::close(ready_pipe);
        ready_pipe = -1;
        ::close(done[0]);
        ::close(done[1]);
        return 0;
    }
    ::close(done[1]);
    char none = 0;
    (void)!::read(done[0], &none, 1);
    ::close(done[0]);
    return child;
}

inline int exit_status(pid_t child) {
    int status = 0;
    SYS(::waitpid(child, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

[[noreturn]] inline void pass() {
    verdict("PASS");
    ::_exit(0);
}

// The value of a line of /proc/self/status
inline std::string status_line(const std::string &name) {
    std::istringstream in(read_file("/proc/self/status"));
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(name + ":"))
            return line.substr(name.size() + 1);
    return "(none)";
}

} // namespace scenario
