// SPDX-License-Identifier: LGPL-2.1-or-later
//
// memfds, shared mappings and System V objects.
#include "kinds_fixture.h"

#include <algorithm>

#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>

using namespace abey;
using namespace abey::test;

namespace {

// Numbers that the children use
constexpr int a = 10, b = 11;

} // namespace

TEST_F(Kinds, MemoryFile) {
    Child child([] {
        put(::memfd_create("notes", MFD_ALLOW_SEALING), a);
        must_call(::ftruncate(a, 10000), "ftruncate");
        must_call(::fchmod(a, 0640), "fchmod");
        must_call(::fcntl(a, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE), "F_ADD_SEALS");
        must_call(::lseek(a, 4096, SEEK_SET), "lseek");
        put(::open("/proc/self/fd/10", O_RDONLY), b);
    });
    capture(child);
    child.end();
    const auto &memory = tree_.shared_memory.at(std::get<model::SharedMemoryFile>(file(a).payload).memory);
    EXPECT_EQ(std::get<model::SharedMemoryFile>(file(b).payload).memory, memory.id);
    EXPECT_EQ(memory.size, 10000U);
    // what the memory dumper would have written
    pages_ = Fd(::memfd_create("pages", MFD_CLOEXEC));
    const std::string page = "second page" + std::string(4085, '.');
    must(write_all(pages_, page));
    tree_.shared_memory.at(memory.id).pages.push_back({.address = 4096, .length = 4096, .offset = 0});
    rebuild();
    EXPECT_EQ(link_of(fd(a)), "/memfd:notes (deleted)");
    EXPECT_EQ(::fcntl(fd(a), F_GET_SEALS), F_SEAL_GROW | F_SEAL_WRITE);
    EXPECT_EQ(read(a, 11), "second page");
    EXPECT_EQ(read(b, 2), std::string(2, '\0'));
    struct stat st = {};
    ASSERT_EQ(::fstat(fd(b), &st), 0);
    EXPECT_EQ(st.st_size, 10000);
    EXPECT_EQ(st.st_mode & 0777U, 0640U);
    EXPECT_EQ(::fcntl(fd(b), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(Kinds, AnonymousSharedMapping) {
    // at an address that the test knows
    constexpr uint64_t start = 0x7e0000000000, size = 8192;
    Child child([] {
        must_call(::mmap(reinterpret_cast<void *>(start), size, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED
                      ? -1
                      : 0,
                  "mmap");
        *reinterpret_cast<char *>(start + 1) = 'A';
    });
    ASSERT_FALSE(child.failed());
    capture::Context context(tree_, files_, false);
    const auto id =
        must(capture::capture_mapped_file(context, child.pid(), "test", {.start = start, .end = start + size}, true));
    EXPECT_EQ(
        must(capture::capture_mapped_file(context, child.pid(), "test", {.start = start, .end = start + size}, true)),
        id);
    const auto &open_file = tree_.open_files.at(id);
    ASSERT_TRUE(std::holds_alternative<model::SharedMemoryFile>(open_file.payload));
    const auto memory = std::get<model::SharedMemoryFile>(open_file.payload).memory;
    const auto &readable = context.state<capture::SharedMemories>().readable.at(memory);
    char byte = 0;
    EXPECT_EQ(::pread(readable.get(), &byte, 1, 1), 1);
    EXPECT_EQ(byte, 'A');
    rebuild();
    const int made = must(rebuilt_->open_file(id));
    EXPECT_EQ(link_of(made), "/dev/zero (deleted)");
    struct stat st = {};
    ASSERT_EQ(::fstat(made, &st), 0);
    EXPECT_EQ(st.st_size, static_cast<off_t>(size));
}

TEST_F(Kinds, SystemVSharedMemory) {
    constexpr uint64_t start = 0x7e0000000000, size = 8192;
    Child child([] {
        const int id = ::shmget(IPC_PRIVATE, size, 0600);
        must_call(id, "shmget");
        void *at = ::shmat(id, reinterpret_cast<void *>(start), 0); // NOLINT(performance-no-int-to-ptr)
        ::shmctl(id, IPC_RMID, nullptr);
        must_call(at == reinterpret_cast<void *>(start) ? 0 : -1, "shmat"); // NOLINT(performance-no-int-to-ptr)
    });
    ASSERT_FALSE(child.failed());
    capture::Context context(tree_, files_, false);
    const auto id =
        must(capture::capture_mapped_file(context, child.pid(), "test", {.start = start, .end = start + size}, true));
    EXPECT_TRUE(std::holds_alternative<model::SharedMemoryFile>(tree_.open_files.at(id).payload));
    EXPECT_TRUE(context.findings.empty());
    const auto &memory = tree_.shared_memory.begin()->second;
    EXPECT_EQ(memory.kind, model::SharedMemory::Kind::system_v);
    EXPECT_EQ(memory.size, size);
    EXPECT_TRUE(memory.removed);
    child.end(); // and with it the segment
    rebuild();
    EXPECT_EQ(link_of(must(rebuilt_->open_file(id))), "/SYSV00000000 (deleted)");
}

TEST_F(Kinds, SystemVObjectsWithoutMappingAreTold) {
    Child child([] {
        const int id = ::semget(IPC_PRIVATE, 2, 0600);
        must_call(id, "semget");
        sembuf up = {.sem_num = 1, .sem_op = 1, .sem_flg = 0};
        must_call(::semop(id, &up, 1), "semop");
        make_pipe(a, b);
        must_call(::write(b, &id, sizeof id), "write");
    });
    ASSERT_FALSE(child.failed());
    int id = -1;
    ASSERT_EQ(::read(child.take(a).get(), &id, sizeof id), static_cast<ssize_t>(sizeof id));
    capture(child, true);
    ::semctl(id, 0, IPC_RMID);
    const auto told =
        std::ranges::find(findings_, fmt::format("System V semaphores {}", id), &capture::Finding::object);
    ASSERT_NE(told, findings_.end());
    EXPECT_FALSE(told->fatal);
}
