// SPDX-License-Identifier: LGPL-2.1-or-later
// Copy-on-write memory that a parent, its children and grandchildren still have in common since their forks: it stays
// in common, and pages that one of them has written, discarded or protected since are its own.
#include "scenario.h"

#include <algorithm>
#include <vector>

#include <sys/mman.h>

namespace {

constexpr size_t page = 4096;
constexpr size_t pages = 512;
constexpr size_t own_page = 7, discarded_page = 9, late_page = 300;

char *memory = nullptr;    // NOLINT: the same in all
char *of_a_file = nullptr; // NOLINT
constexpr size_t file_pages = 16;

char content(size_t i) { return static_cast<char>('a' + i % 26); }

// The page frame of what lies at `address`, 0 when there is nothing or nobody tells.
uint64_t frame_at(const std::string &pid, const char *address) {
    const int fd = SYS(::open(("/proc/" + pid + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
    uint64_t entry = 0;
    EQUAL(8, ::pread(fd, &entry, sizeof entry, static_cast<off_t>(reinterpret_cast<uintptr_t>(address) / page * 8)));
    ::close(fd);
    return (entry >> 63U) != 0 ? entry & ((1ULL << 55U) - 1) : 0;
}

// How many of the first `count` pages at `base` both processes have in one place.
size_t in_common(pid_t one, pid_t other, const char *base, size_t count) {
    const auto same = [&](const char *address) {
        const uint64_t frame = frame_at(std::to_string(one), address);
        return frame != 0 && frame == frame_at(std::to_string(other), address);
    };
    size_t found = 0;
    for (size_t i = 0; i < count; ++i) {
        bool is_same = same(base + i * page);
        if (!is_same) // it may have been moved just between the two looks
            is_same = same(base + i * page);
        found += is_same ? 1 : 0;
    }
    return found;
}

void check_contents(bool written, bool discarded) {
    for (size_t i = 0; i < pages; ++i) {
        const char expected = written && i == own_page ? 'W' : discarded && i == discarded_page ? '\0' : content(i);
        EQUAL(expected, memory[i * page]);
        EQUAL(expected, memory[i * page + page - 1]);
    }
    EQUAL('F', of_a_file[0]);
    EQUAL(written ? 'W' : 'P', of_a_file[page]);
}

// A child that changes some pages, and one of its own that has the rest in common with both.
pid_t make_family(int told) {
    const pid_t child = SYS(::fork());
    if (child != 0)
        return child;
    std::memset(memory + own_page * page, 'W', page);
    SYS(::madvise(memory + discarded_page * page, page, MADV_DONTNEED));
    SYS(::mprotect(memory + late_page * page, page, PROT_READ));
    std::memset(of_a_file + page, 'W', page);
    const pid_t grandchild = SYS(::fork());
    if (grandchild == 0) {
        const pid_t self = ::getpid();
        EQUAL(static_cast<ssize_t>(sizeof self), ::write(told, &self, sizeof self));
        scenario::wait();
        check_contents(true, true);
        memory[0] = 'G'; // nobody else sees it
        ::_exit(0);
    }
    scenario::wait();
    check_contents(true, true);
    SYS(::kill(grandchild, SIGTERM));
    EQUAL(0, scenario::exit_status(grandchild));
    check_contents(true, true);
    ::_exit(0);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    // small pages, so that the kernel shares and copies them one by one
    const auto flags = MAP_PRIVATE | MAP_ANONYMOUS;
    memory = static_cast<char *>(SYS(::mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, flags, -1, 0)));
    SYS(::madvise(memory, pages * page, MADV_NOHUGEPAGE));
    for (size_t i = 0; i < pages; ++i)
        std::memset(memory + i * page, content(i), page);
    scenario::write_file(scenario::path("file"), std::string(file_pages * page, 'F'));
    const int fd = SYS(::open(scenario::path("file").c_str(), O_RDONLY | O_CLOEXEC));
    of_a_file =
        static_cast<char *>(SYS(::mmap(nullptr, file_pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)));
    ::close(fd);
    std::memset(of_a_file + page, 'P', page);

    int ends[2];
    SYS(::pipe(ends));
    const pid_t child = make_family(ends[1]);
    pid_t grandchild = 0;
    EQUAL(static_cast<ssize_t>(sizeof grandchild), ::read(ends[0], &grandchild, sizeof grandchild));
    const pid_t self = ::getpid();
    const bool can_see = frame_at(std::to_string(self), memory) != 0; // page frames are told to root only
    scenario::ready();

    scenario::wait();
    check_contents(false, false);
    if (can_see) {
        EQUAL(pages - 2, in_common(self, child, memory, pages));
        EQUAL(pages - 2, in_common(self, grandchild, memory, pages));
        EQUAL(pages - 1, in_common(child, grandchild, memory, pages));
        EQUAL(0U, in_common(self, child, of_a_file + page, 1));
        EQUAL(1U, in_common(child, grandchild, of_a_file + page, 1));
    }
    memory[page] = 'X'; // nobody else sees it
    SYS(::kill(child, SIGTERM));
    EQUAL(0, scenario::exit_status(child));
    EQUAL('X', memory[page]);
    scenario::pass();
}
