// SPDX-License-Identifier: LGPL-2.1-or-later
// Many pages in large runs: contents, pages that were never touched, protections in the middle; a child that has
// written much of what it had in common with its parent, and made large memory of its own.
#include "scenario.h"

#include <sys/mman.h>

namespace {

constexpr size_t page = 4096;
constexpr size_t pages = 10'000;                           // 39 MiB, no multiple of anything
constexpr size_t hole = 4'100, hole_end = 4'103;           // never touched
constexpr size_t closed = 5'000, closed_end = 6'100;       // PROT_NONE
constexpr size_t read_only = 6'100, read_only_end = 7'300; // PROT_READ
constexpr size_t of_child = 7'000, of_child_end = 9'500;   // written by the child

char *memory = nullptr; // NOLINT: the same in both
char *own = nullptr;    // NOLINT

uint64_t content(size_t number, uint64_t who) { return (number + 1) * 0x9e3779b97f4a7c15ULL ^ who; }

void fill(char *base, size_t begin, size_t end, uint64_t who) {
    for (size_t i = begin; i < end; ++i)
        for (size_t at = 0; at < page; at += 8) {
            const uint64_t value = content(i * page + at, who);
            std::memcpy(base + i * page + at, &value, sizeof value);
        }
}

void check(const char *base, size_t begin, size_t end, uint64_t who) {
    for (size_t i = begin; i < end; ++i)
        for (size_t at = 0; at < page; at += 8) {
            uint64_t value = 0;
            std::memcpy(&value, base + i * page + at, sizeof value);
            EQUAL(content(i * page + at, who), value);
        }
}

bool is_there(const char *address) {
    const int fd = SYS(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    uint64_t entry = 0;
    EQUAL(8, ::pread(fd, &entry, sizeof entry, static_cast<off_t>(reinterpret_cast<uintptr_t>(address) / page * 8)));
    ::close(fd);
    return (entry >> 62U) != 0; // present or swapped
}

void check_all(bool child) {
    for (size_t i = hole; i < hole_end; ++i)
        EQUAL(false, is_there(memory + i * page));
    EQUAL(0, std::memcmp(memory + hole * page, memory + (hole + 1) * page, page));
    SYS(::mprotect(memory + closed * page, (closed_end - closed) * page, PROT_READ));
    check(memory, 0, hole, 1);
    check(memory, hole_end, of_child, 1);
    check(memory, of_child, of_child_end, child ? 2 : 1);
    check(memory, of_child_end, pages, 1);
    // nothing that watches the memory was left on it
    std::ifstream maps("/proc/self/smaps");
    for (std::string line; std::getline(maps, line);)
        if (line.starts_with("VmFlags:"))
            EQUAL(std::string::npos, line.find(" um "));
}

char *make(size_t count) {
    void *at = SYS(::mmap(nullptr, count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SYS(::madvise(at, count * page, MADV_NOHUGEPAGE)); // no page but those that are touched
    return static_cast<char *>(at);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    memory = make(pages);
    fill(memory, 0, hole, 1);
    fill(memory, hole_end, pages, 1);
    SYS(::mprotect(memory + closed * page, (closed_end - closed) * page, PROT_NONE));
    const pid_t child = SYS(::fork());
    if (child == 0) {
        fill(memory, of_child, of_child_end, 2);
        own = make(3'000);
        fill(own, 0, 3'000, 3);
        scenario::wait();
        check_all(true);
        check(own, 0, 3'000, 3);
        ::_exit(0);
    }
    SYS(::mprotect(memory + read_only * page, (read_only_end - read_only) * page, PROT_READ));
    scenario::ready();

    scenario::wait();
    SYS(::kill(child, SIGTERM));
    EQUAL(0, scenario::exit_status(child));
    check_all(false);
    scenario::pass();
}
