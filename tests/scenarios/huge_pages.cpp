// SPDX-License-Identifier: LGPL-2.1-or-later
// Huge pages (hugetlb): private, inherited by a child, shared, of a memfd with seals.
#include "scenario.h"

#include <linux/memfd.h>
#include <sys/mman.h>

namespace {

constexpr size_t page = 2UL << 20U;

char *map(size_t count, int flags, int fd = -1) {
    void *at = ::mmap(nullptr, count * page, PROT_READ | PROT_WRITE, flags, fd, 0);
    CHECK(at != MAP_FAILED);
    return static_cast<char *>(at);
}

// Is the mapping at `at` of huge pages?
bool is_huge(const char *at) {
    char start[32];
    (void)std::snprintf(start, sizeof start, "%lx-", reinterpret_cast<unsigned long>(at));
    const std::string smaps = scenario::read_file("/proc/self/smaps");
    const size_t line = smaps.find(start);
    CHECK(line != std::string::npos);
    const size_t size = smaps.find("KernelPageSize:", line);
    return smaps.substr(size, smaps.find('\n', size) - size).ends_with(" 2048 kB");
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    constexpr int huge = MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
    char *own = map(2, MAP_PRIVATE | MAP_ANONYMOUS | huge);
    std::memset(own + page, 'p', page);
    SYS(::mprotect(own + page, page, PROT_READ));
    char *shared = map(2, MAP_SHARED | MAP_ANONYMOUS | huge);
    std::memset(shared, 's', page);
    const int memory = SYS(::memfd_create("huge", MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING));
    SYS(::ftruncate(memory, 2 * page));
    char *of_file = map(2, MAP_SHARED, memory);
    std::memset(of_file + page, 'f', page);
    char *copied = map(2, MAP_PRIVATE, memory);
    copied[page + 5] = 'c';
    SYS(::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        while (shared[1] != '!')
            ::usleep(10000);
        shared[2] = '?';
        EQUAL('p', own[2 * page - 1]);
        ::_exit(0);
    }
    scenario::ready();
    scenario::wait();

    for (const char *at : {own + page, shared, of_file, copied})
        CHECK(is_huge(at));
    EQUAL(0, own[0]);
    for (size_t i = 0; i < page; i += 511) {
        EQUAL('p', own[page + i]);
        EQUAL('s', shared[i]);
        EQUAL('f', of_file[page + i]);
        EQUAL(0, of_file[i]);
    }
    EQUAL('c', copied[page + 5]);
    EQUAL('f', copied[page + 6]);
    EQUAL(F_SEAL_SHRINK, ::fcntl(memory, F_GET_SEALS));
    struct stat st = {};
    SYS(::fstat(memory, &st));
    EQUAL(2 * page, st.st_size);
    EQUAL(page, st.st_blksize);
    shared[1] = '!';
    EQUAL(0, scenario::exit_status(child));
    EQUAL('?', shared[2]);
    scenario::pass();
}
