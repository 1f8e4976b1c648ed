// SPDX-License-Identifier: LGPL-2.1-or-later
// Pipes and fifos with what is in them, their size and flags; the end of file when the last writer goes.
#include "scenario.h"

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    int ends[2];
    SYS(::pipe2(ends, O_NONBLOCK | O_CLOEXEC));
    const int capacity = SYS(::fcntl(ends[1], F_SETPIPE_SZ, 256 * 1024));
    std::string text(100000, '\0');
    for (std::size_t i = 0; i < text.size(); ++i)
        text[i] = static_cast<char>(i * 7 % 251);
    EQUAL(text.size(), ::write(ends[1], text.data(), text.size()));
    int full[2]; // a writer waits for room
    SYS(::pipe(full));
    const int room = SYS(::fcntl(full[1], F_GETPIPE_SZ));
    const std::string much(static_cast<std::size_t>(room), 'm');
    EQUAL(room, ::write(full[1], much.data(), much.size()));
    const std::string name = scenario::path("fifo");
    SYS(::mkfifo(name.c_str(), 0644));
    const int fifo_read = SYS(::open(name.c_str(), O_RDONLY | O_NONBLOCK));
    const int fifo_write = SYS(::open(name.c_str(), O_WRONLY));
    EQUAL(5, ::write(fifo_write, "queue", 5));
    int half[2]; // nobody writes any more, something is left
    SYS(::pipe(half));
    EQUAL(4, ::write(half[1], "last", 4));
    SYS(::close(half[1]));
    int packets[2]; // each write is a read
    SYS(::pipe2(packets, O_DIRECT));
    for (const char *packet : {"one", "second", "3"})
        EQUAL(std::strlen(packet), ::write(packets[1], packet, std::strlen(packet)));
    int single[2];
    SYS(::pipe2(single, O_DIRECT));
    EQUAL(4, ::write(single[1], "lone", 4));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        EQUAL(6, ::write(full[1], "tail.\n", 6));
        ::_exit(0);
    }
    ::usleep(30000);
    scenario::ready();
    scenario::wait();

    EQUAL(capacity, ::fcntl(ends[0], F_GETPIPE_SZ));
    EQUAL(O_NONBLOCK, ::fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    EQUAL(FD_CLOEXEC, ::fcntl(ends[1], F_GETFD));
    EQUAL(0, ::fcntl(half[0], F_GETFL) & O_NONBLOCK);
    std::string found(text.size() + 1, '\0');
    EQUAL(text.size(), ::read(ends[0], found.data(), found.size()));
    CHECK(text == found.substr(0, text.size()));
    EQUAL(-1, ::read(ends[0], found.data(), 1));
    EQUAL(EAGAIN, errno);
    char few[8] = {};
    EQUAL(6, ::write(single[1], "behind", 6)); // not joined to what was there
    EQUAL(O_DIRECT, ::fcntl(packets[1], F_GETFL) & O_DIRECT);
    for (const char *packet : {"one", "second", "3"})
        EQUAL(std::string(packet),
              std::string(few, static_cast<std::size_t>(SYS(::read(packets[0], few, sizeof few)))));
    for (const char *packet : {"lone", "behind"})
        EQUAL(std::string(packet), std::string(few, static_cast<std::size_t>(SYS(::read(single[0], few, sizeof few)))));
    std::memset(few, 0, sizeof few);
    EQUAL(4, ::read(half[0], few, sizeof few));
    EQUAL(std::string("last"), std::string(few));
    EQUAL(0, ::read(half[0], few, sizeof few));
    EQUAL(5, ::read(fifo_read, few, sizeof few));
    EQUAL(std::string("queue"), std::string(few, 5));
    EQUAL(2, ::write(fifo_write, "ok", 2));
    EQUAL(2, ::read(fifo_read, few, sizeof few));
    std::string all;
    while (all.size() < much.size() + 6) {
        char buffer[4096];
        const ssize_t got = SYS(::read(full[0], buffer, sizeof buffer));
        CHECK(got > 0);
        all.append(buffer, static_cast<std::size_t>(got));
    }
    CHECK(much + "tail.\n" == all);
    EQUAL(0, scenario::exit_status(child));
    scenario::pass();
}
