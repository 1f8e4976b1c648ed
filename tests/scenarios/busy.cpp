// SPDX-License-Identifier: LGPL-2.1-or-later
// A tree that is never the same: workers fork, exec, make threads, open, close, map and end as fast as they can, and
// each checks everything it has done. Driven by under_fire.py.
#include "scenario.h"

#include <thread>

#include <sys/mman.h>
#include <sys/syscall.h>

namespace {

constexpr int workers = 3;

// One short life: descriptors and memory come and go, and say what they should.
int life(unsigned number) {
    int ends[2];
    SYS(::pipe(ends));
    EQUAL(sizeof number, ::write(ends[1], &number, sizeof number));
    const int copy = SYS(::dup(ends[0]));
    SYS(::close(ends[0]));
    auto *page =
        static_cast<unsigned *>(::mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(page != MAP_FAILED);
    page[number % 16384] = number;
    const std::string name = scenario::path("file." + std::to_string(::getpid()));
    const int file = SYS(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
    SYS(::unlink(name.c_str()));
    EQUAL(sizeof number, ::write(file, &number, sizeof number));
    unsigned threaded = 0;
    if (number % 3 == 0)
        std::thread([&] { threaded = number; }).join();
    unsigned found = 0;
    EQUAL(sizeof found, ::read(copy, &found, sizeof found));
    EQUAL(number, found);
    EQUAL(number, page[number % 16384]);
    EQUAL(sizeof found, ::pread(file, &found, sizeof found, 0));
    EQUAL(number, found);
    EQUAL(number % 3 == 0 ? number : 0, threaded);
    SYS(::munmap(page, 65536));
    for (const int fd : {copy, ends[1], file})
        SYS(::close(fd));
    return static_cast<int>(number % 100);
}

// The end of a child: of itself, or as another program.
[[noreturn]] void end(unsigned number) {
    const int status = life(number);
    if (number % 4 == 0)
        ::execl("/bin/sh", "sh", "-c", ("exit " + std::to_string(status)).c_str(), nullptr);
    ::_exit(status);
}

[[noreturn]] void work() {
    unsigned number = 0;
    while (!scenario::told(0)) {
        ++number;
        const pid_t child = SYS(::fork());
        if (child == 0) {
            if (number % 5 != 0)
                end(number);
            std::thread(end, number).detach(); // which goes on when the first thread has ended
            ::syscall(SYS_exit, 0);
        }
        EQUAL(static_cast<int>(number % 100), scenario::exit_status(child));
    }
    ::_exit(0);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    pid_t children[workers];
    for (pid_t &child : children) {
        child = scenario::fork_child();
        if (child == 0)
            work();
    }
    scenario::ready();
    scenario::wait();
    for (const pid_t child : children)
        SYS(::kill(child, SIGTERM));
    for (const pid_t child : children)
        EQUAL(0, scenario::exit_status(child));
    scenario::pass();
}
