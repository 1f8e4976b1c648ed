// SPDX-License-Identifier: LGPL-2.1-or-later
// Deleted files with a descriptor, deleted files that are only mapped, files that were renamed over.
#include "scenario.h"

#include <sys/mman.h>

namespace {

constexpr std::size_t size = 300000;

std::string contents(char seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>(seed + i % 61);
    return text;
}

std::string through(int fd) {
    std::string text(size + 10, '\0');
    const ssize_t got = SYS(::pread(fd, text.data(), text.size(), 0));
    text.resize(static_cast<std::size_t>(got));
    return text;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    scenario::write_file(scenario::path("gone"), contents('a'));
    const int gone = SYS(::open(scenario::path("gone").c_str(), O_RDWR));
    SYS(::lseek(gone, 1234, SEEK_SET));
    SYS(::fchmod(gone, 0640));
    SYS(::unlink(scenario::path("gone").c_str()));

    scenario::write_file(scenario::path("mapped"), contents('b'));
    int fd = SYS(::open(scenario::path("mapped").c_str(), O_RDWR));
    auto *shared = static_cast<char *>(SYS(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    auto *copy = static_cast<char *>(SYS(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)));
    SYS(::close(fd));
    SYS(::unlink(scenario::path("mapped").c_str()));
    shared[7] = '!';
    copy[8] = '?';

    scenario::write_file(scenario::path("over"), contents('c'));
    const int over = SYS(::open(scenario::path("over").c_str(), O_RDONLY));
    scenario::write_file(scenario::path("new"), "new");
    SYS(::rename(scenario::path("new").c_str(), scenario::path("over").c_str()));

    const int never = SYS(::open(scenario::directory.c_str(), O_TMPFILE | O_RDWR, 0600)); // had no name
    EQUAL(4, ::write(never, "tmp!", 4));
    scenario::ready();
    scenario::wait();

    CHECK(contents('a') == through(gone));
    EQUAL(1234, ::lseek(gone, 0, SEEK_CUR));
    struct stat about = {};
    SYS(::fstat(gone, &about));
    EQUAL(0, about.st_nlink);
    EQUAL(0640, about.st_mode & 07777);
    EQUAL(1, ::pwrite(gone, "z", 1, size));
    std::string wanted = contents('b');
    wanted[7] = '!';
    CHECK(wanted == std::string(shared, size));
    wanted[8] = '?';
    CHECK(wanted == std::string(copy, size));
    shared[9000] = '#';
    EQUAL('#', copy[9000]);
    CHECK(contents('c') == through(over));
    SYS(::fstat(over, &about));
    EQUAL(0, about.st_nlink);
    EQUAL(std::string("new"), scenario::read_file(scenario::path("over")));
    EQUAL(4, ::lseek(never, 0, SEEK_CUR));
    EQUAL(std::string("tmp!"), through(never));
    SYS(::fstat(never, &about));
    EQUAL(0, about.st_nlink);
    for (const char *name : {"gone", "mapped", "new"})
        EQUAL(-1, ::access(scenario::path(name).c_str(), F_OK));
    scenario::pass();
}
