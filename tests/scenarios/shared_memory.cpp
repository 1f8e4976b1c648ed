// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory shared by fork stays shared, memory copied by fork stays private; memfd keeps contents and seals.
#include "scenario.h"

#include <atomic>
#include <sys/mman.h>

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    constexpr std::size_t size = std::size_t{256} * 1024;
    constexpr std::size_t memory_size = std::size_t{3} * 4096;
    auto *shared = static_cast<std::atomic<int> *>(
        SYS(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    auto *copied =
        static_cast<int *>(SYS(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    copied[0] = 1;
    copied[40000] = 2;
    shared[1000] = 77;
    const int memory = SYS(::memfd_create("scenario-memory", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    SYS(::ftruncate(memory, memory_size));
    EQUAL(5, ::pwrite(memory, "hello", 5, 4096));
    EQUAL(100, SYS(::lseek(memory, 100, SEEK_SET)));
    auto *mapped =
        static_cast<char *>(SYS(::mmap(nullptr, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0)));
    SYS(::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        copied[0] = 3;
        shared[0] = 1;
        while (shared[1] != 5)
            ::usleep(1000);
        EQUAL(3, copied[0]);
        EQUAL(2, copied[40000]);
        EQUAL(77, shared[1000].load());
        mapped[5] = 'c';
        shared[2] = 6;
        ::_exit(0);
    }
    while (shared[0] != 1)
        ::usleep(1000);
    scenario::ready();
    scenario::wait();
    EQUAL(1, copied[0]);
    EQUAL(2, copied[40000]);
    EQUAL(0, shared[1].load());
    shared[1] = 5;
    EQUAL(0, scenario::exit_status(child));
    EQUAL(6, shared[2].load());
    char found[7] = {};
    EQUAL(6, ::pread(memory, found, 6, 4096 - 0));
    EQUAL(std::string("hello"), std::string(found, 5));
    EQUAL(1, ::pread(memory, found, 1, 5));
    EQUAL('c', found[0]);
    EQUAL(100, ::lseek(memory, 0, SEEK_CUR));
    EQUAL(F_SEAL_SHRINK | F_SEAL_GROW, ::fcntl(memory, F_GET_SEALS));
    EQUAL(FD_CLOEXEC, ::fcntl(memory, F_GETFD));
    EQUAL(-1, ::ftruncate(memory, 4096));
    EQUAL(EPERM, errno);
    EQUAL(std::string("/memfd:scenario-memory (deleted)"), [&] {
        char link[100] = {};
        (void)!::readlink(("/proc/self/fd/" + std::to_string(memory)).c_str(), link, sizeof link - 1);
        return std::string(link);
    }());
    scenario::pass();
}
