// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that is sealed (mseal(2)): anonymous, of a file, read-only, and the vDSO, which the program has sealed itself.
#include "scenario.h"

#include <cstdint>

#include <sys/mman.h>
#include <sys/syscall.h>

using namespace scenario;

namespace {

constexpr size_t page = 4096;
constexpr long mseal = 462;

char *map(int protection, int flags, int fd) {
    void *at = ::mmap(nullptr, 4 * page, protection, flags, fd, 0);
    CHECK(at != MAP_FAILED);
    return static_cast<char *>(at);
}

void seal(char *at, size_t length) { SYS(::syscall(mseal, at, length, 0)); }

void check_sealed(char *at, size_t length, int other_protection) {
    EQUAL(-1, ::mprotect(at, length, other_protection));
    EQUAL(EPERM, errno);
    EQUAL(-1, ::munmap(at, length));
    EQUAL(EPERM, errno);
    CHECK(::mremap(at, length, 2 * length, MREMAP_MAYMOVE) == MAP_FAILED);
    EQUAL(EPERM, errno);
}

std::pair<char *, size_t> vdso() {
    std::istringstream maps(read_file("/proc/self/maps"));
    for (std::string line; std::getline(maps, line);)
        if (line.ends_with("[vdso]")) {
            const uintptr_t start = std::stoul(line, nullptr, 16);
            const uintptr_t end = std::stoul(line.substr(line.find('-') + 1), nullptr, 16);
            return {reinterpret_cast<char *>(start), end - start}; // NOLINT
        }
    return {};
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    if (::syscall(mseal, nullptr, 0, 0) < 0 && errno == ENOSYS)
        return 77;
    char *anonymous = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    std::memset(anonymous, 'a', 4 * page);
    seal(anonymous + page, page); // one between two that are not
    char *constant = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    std::memset(constant, 'c', 4 * page);
    SYS(::mprotect(constant, 4 * page, PROT_READ));
    seal(constant, 4 * page);
    write_file(path("file"), std::string(4 * page, 'f'));
    const int fd = SYS(::open(path("file").c_str(), O_RDWR | O_CLOEXEC));
    char *of_file = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    seal(of_file, 4 * page);
    const auto [own_vdso, vdso_size] = vdso();
    CHECK(own_vdso != nullptr);
    seal(own_vdso, vdso_size);
    const pid_t child = fork_child(); // with all of it
    if (child == 0) {
        ready_pipe = -1;
        sigset_t term;
        ::sigemptyset(&term);
        ::sigaddset(&term, SIGTERM);
        int number = 0;
        ::sigwait(&term, &number);
        check_sealed(constant, 4 * page, PROT_READ | PROT_WRITE);
        ::_exit(7);
    }
    ready();
    wait();
    check_sealed(anonymous + page, page, PROT_READ);
    check_sealed(constant, 4 * page, PROT_READ | PROT_WRITE);
    check_sealed(of_file, 4 * page, PROT_READ);
    check_sealed(own_vdso, vdso_size, PROT_NONE);
    anonymous[page] = 'A'; // its contents are free
    of_file[0] = 'F';
    SYS(::mprotect(anonymous, page, PROT_READ));
    SYS(::munmap(anonymous + 2 * page, 2 * page));
    EQUAL('a', anonymous[page + 1]);
    EQUAL('c', constant[3 * page]);
    EQUAL('F', read_file(path("file"))[0]);
    SYS(::kill(child, SIGTERM));
    EQUAL(7, exit_status(child));
    pass();
}
