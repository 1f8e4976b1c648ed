// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of another process, through capture and rebuild: held twice, mapped only, replaced, in a directory that is
// gone.
#include "disk.h"
#include "engine/capture/descriptors.h"
#include "engine/os/fd.h"
#include "engine/rebuild/objects.h"
#include "files/files.h"
#include "policy/policy.h"

#include <algorithm>
#include <csignal>
#include <map>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

using namespace abey;

namespace {

template <class T> T must(Result<T> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
    return std::move(*result);
}
void must(const Result<> &result) {
    if (!result)
        throw std::runtime_error(result.error().message());
}

constexpr size_t mapped_size = 8192;

// Runs in the child: makes the files, tells where the mapping is, waits.
[[noreturn]] void hold_files(const std::string &home, int ready) {
    std::string kept = home + "/held";
    int held = ::open(kept.c_str(), O_RDWR | O_CREAT, 0600);
    bool ok = ::write(held, "held", 4) == 4 && ::unlink(kept.c_str()) == 0;
    ok = ok && ::dup2(held, 10) == 10;                                 // one open file, two descriptors
    ok = ok && ::dup2(::open("/proc/self/fd/10", O_RDONLY), 11) == 11; // another open file on the inode
    std::string log = home + "/log";
    ok = ok && ::dup2(::open(log.c_str(), O_RDWR | O_CREAT | O_APPEND, 0600), 12) == 12 && ::write(12, "old", 3) == 3;
    int fresh = ::open((log + ".new").c_str(), O_RDWR | O_CREAT, 0600);
    ok = ok && ::write(fresh, "new", 3) == 3 && ::rename((log + ".new").c_str(), log.c_str()) == 0;
    std::string mapped = home + "/mapped";
    int file = ::open(mapped.c_str(), O_RDWR | O_CREAT, 0600);
    ok = ok && ::ftruncate(file, mapped_size) == 0;
    auto *memory = static_cast<char *>(::mmap(nullptr, mapped_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    ok = ok && ::unlink(mapped.c_str()) == 0;
    std::string named = home + "/named";
    ok = ok && ::dup2(::open(named.c_str(), O_RDWR | O_CREAT, 0600), 13) == 13 && ::write(13, "named", 5) == 5;
    ok = ok && ::dup2(ready, 20) == 20;
    for (int fd = 0; fd < 10; fd++)
        ::close(fd);
    ::close_range(14, 19, 0);
    ::close_range(21, ~0U, 0);
    memory[5000] = 'Z';
    auto address = ok ? reinterpret_cast<uint64_t>(memory) : 0;
    if (::write(20, &address, sizeof address) != sizeof address)
        ::_exit(1);
    ::close(20);
    for (;;)
        ::pause();
}

// Ends the child whatever becomes of the test.
class Child {
  public:
    explicit Child(pid_t pid) : pid_(pid) {}
    Child(const Child &) = delete;
    Child &operator=(const Child &) = delete;
    ~Child() { end(); }
    void end() {
        if (pid_ <= 0)
            return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = 0;
    }

  private:
    pid_t pid_;
};

std::string contents(int fd) {
    Fd own = must(open_file(fmt::format("/proc/self/fd/{}", fd), O_RDONLY));
    return must(read_all(own, 1U << 20U));
}
std::string shown(int fd) { return must(read_link(fmt::format("/proc/self/fd/{}", fd))); }

void rescue_and_rebuild(const test::Disk &disk, const std::string &strategies) {
    std::string home = disk.path() + "/home";
    std::string images = disk.base() + "/images";
    ASSERT_EQ(::mkdir(home.c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(images.c_str(), 0700), 0);
    int ready[2] = {};
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = ::fork();
    if (pid == 0)
        hold_files(home, ready[1]);
    Child child(pid);
    ::close(ready[1]);
    Fd in(ready[0]);
    uint64_t address = 0;
    ASSERT_EQ(::read(in.get(), &address, sizeof address), static_cast<ssize_t>(sizeof address));
    ASSERT_NE(address, 0U);
    char end = 0;
    ASSERT_EQ(::read(in.get(), &end, 1), 0); // the child has closed its end: what it holds now is what it keeps

    auto policy = must(policy::Policy::parse(fmt::format("[[file]]\nstrategies = [{}]", strategies), "test.toml"));
    auto keeper = files::make_keeper(policy, images, "cp1");
    Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    model::Tree tree;
    capture::Context capture(tree, *keeper, false);
    capture.is_inside = [&](int one) { return one == pid; };
    auto table = must(capture::capture_descriptors(capture, pid, "child", pidfd.get()));
    auto mapping = must(
        capture::capture_mapped_file(capture, pid, "child", {.start = address, .end = address + mapped_size}, true));
    must(capture::complete(capture));
    must(capture::rescue_files(capture));
    must(keeper->sync());
    child.end();

    auto opener = files::make_opener(images);
    for (const auto &[id, inode] : tree.inodes)
        must(opener->check(inode));
    rebuild::Context context(tree, *opener, Fd());
    must(rebuild::fill(context));
    std::map<int, int> fds; // the child's number -> ours
    for (const auto &descriptor : tree.descriptor_tables.at(table).descriptors)
        fds[descriptor.number] = must(context.open_file(descriptor.open_file));
    ASSERT_EQ(fds.size(), 4U);

    EXPECT_EQ(contents(fds.at(10)), "held");
    EXPECT_EQ(shown(fds.at(10)), home + "/held (deleted)");
    EXPECT_EQ(::lseek(fds.at(10), 0, SEEK_CUR), 4);
    EXPECT_EQ(::lseek(fds.at(11), 0, SEEK_CUR), 0);
    EXPECT_EQ(::pwrite(fds.at(10), "HELD", 4, 0), 4);
    EXPECT_EQ(contents(fds.at(11)), "HELD") << "two inodes where there was one";
    EXPECT_EQ(contents(fds.at(12)), "old");
    EXPECT_NE(::fcntl(fds.at(12), F_GETFL) & O_APPEND, 0);
    EXPECT_EQ(must(read_file(home + "/log")), "new");
    EXPECT_EQ(contents(fds.at(13)), "named");
    EXPECT_EQ(shown(fds.at(13)), home + "/named");
    std::string expected(mapped_size, '\0');
    expected[5000] = 'Z';
    EXPECT_EQ(contents(must(context.open_file(mapping))), expected);
    EXPECT_EQ(shown(must(context.open_file(mapping))), home + "/mapped (deleted)");
    must(opener->finish(false));
    std::vector<std::string> left;
    for (const auto &entry : std::filesystem::directory_iterator(home))
        left.push_back(entry.path().filename());
    std::ranges::sort(left);
    EXPECT_EQ(left, (std::vector<std::string>{"log", "named"}));
    EXPECT_FALSE(std::filesystem::exists(disk.path() + "/.abeyance"));
}

} // namespace

TEST(Rescue, BringsFilesOfAProcessBackOnBtrfs) {
    for (const char *strategy : {"\"reflink\"", "\"embed\"", "\"copy\""}) {
        test::Disk disk("btrfs");
        if (disk.path().empty())
            GTEST_SKIP() << disk.why_not();
        rescue_and_rebuild(disk, strategy);
    }
}

TEST(Rescue, BringsFilesOfAProcessBackOnExt4) {
    test::Disk disk("ext4");
    if (disk.path().empty())
        GTEST_SKIP() << disk.why_not();
    rescue_and_rebuild(disk, "\"reflink\", \"relink\", \"copy\"");
}

TEST(Rescue, BringsFilesOfAProcessBackInMemory) {
    test::Disk disk("tmpfs");
    if (disk.path().empty())
        GTEST_SKIP() << disk.why_not();
    rescue_and_rebuild(disk, "\"reflink\", \"copy\", \"embed\"");
}
