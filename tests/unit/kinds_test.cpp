// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Descriptor kinds besides sockets and terminals.
#include "kinds_fixture.h"

#include "engine/capture/kinds.h"

#include <algorithm>
#include <array>

#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

using namespace abey;
using namespace abey::test;

namespace {

// Numbers that the children use
constexpr int a = 10, b = 11, c = 12, d = 13;

std::string info_of(int fd) { return must(read_file("/proc/self/fdinfo/" + std::to_string(fd))); }

TEST_F(Kinds, PipeWithContents) {
    Child child([] {
        make_pipe(a, b);
        must_call(::fcntl(b, F_SETPIPE_SZ, 16384), "F_SETPIPE_SZ");
        must_call(::write(b, "hello ", 6), "write");
        must_call(::write(b, "world", 5), "write");
        must_call(::dup2(b, c), "dup2");
        must_call(::fcntl(a, F_SETFL, O_NONBLOCK), "F_SETFL");
    });
    capture(child);
    int unread = 0;
    ::ioctl(child.take(a).get(), FIONREAD, &unread);
    EXPECT_EQ(unread, 11) << "the live pipe must keep its contents";
    EXPECT_EQ(file(b).id, file(c).id) << "dup(2) shares one open file";
    EXPECT_TRUE(findings_.empty());
    child.end();
    rebuild();
    EXPECT_EQ(read(a), "hello world");
    EXPECT_EQ(read(a), "error: Resource temporarily unavailable") << "O_NONBLOCK, and a writer";
    EXPECT_EQ(::fcntl(fd(a), F_GETPIPE_SZ), 16384);
    EXPECT_EQ(::fcntl(fd(b), F_GETFL), O_WRONLY);
    EXPECT_EQ(::write(fd(b), "x", 1), 1);
    EXPECT_EQ(read(a), "x");
}

TEST_F(Kinds, PipeFilledToTheBrim) {
    capture_and_rebuild([] {
        make_pipe(a, b, O_NONBLOCK);
        const std::string data(65536, 'q');
        must_call(::write(b, data.data(), data.size()), "write");
    });
    EXPECT_EQ(read(a, 100000), std::string(65536, 'q'));
}

TEST_F(Kinds, PipeWhoseWriterHasClosed) {
    capture_and_rebuild([] {
        make_pipe(a, b);
        must_call(::write(b, "last", 4), "write");
        ::close(b);
    });
    EXPECT_TRUE(findings_.empty());
    EXPECT_EQ(read(a), "last");
    EXPECT_EQ(read(a), "") << "end of file";
}

TEST_F(Kinds, PipeWhoseReaderIsOutside) {
    Child child([] {
        make_pipe(a, b);
        fork_outsider();
        ::close(a);
    });
    capture(child);
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_FALSE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find("held by process"), std::string::npos) << findings_[0].reason;
    child.end();
    rebuild();
    ::signal(SIGPIPE, SIG_IGN);
    EXPECT_EQ(::write(fd(b), "x", 1), -1);
    EXPECT_EQ(errno, EPIPE);
}

TEST_F(Kinds, FifoIsOpenedWithoutWaiting) {
    const Scratch scratch;
    const std::string path = scratch / "fifo";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    capture_and_rebuild([&] {
        put(::open(path.c_str(), O_RDWR), c);
        put(::open(path.c_str(), O_RDONLY), a);
        put(::open(path.c_str(), O_WRONLY), b);
        ::close(c);
        must_call(::write(b, "through", 7), "write");
    });
    EXPECT_EQ(read(a), "through");
    EXPECT_EQ(link_of(fd(a)), path);
    EXPECT_EQ(::fcntl(fd(a), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY);
    EXPECT_EQ(::fcntl(fd(b), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
}

TEST_F(Kinds, FileWithPositionFlagsAndLocks) {
    const Scratch scratch;
    const std::string path = scratch / "file";
    must(write_file(path, "0123456789"));
    {
        Child child([&] {
            put(::open(path.c_str(), O_RDWR | O_APPEND), a);
            must_call(::lseek(a, 4, SEEK_SET), "lseek");
            must_call(::dup2(a, b), "dup2");
            put(::open(path.c_str(), O_RDONLY), c);
            must_call(::flock(c, LOCK_SH), "flock");
            struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 2};
            must_call(::fcntl(a, F_OFD_SETLK, &range), "F_OFD_SETLK");
            range.l_start = 8;
            must_call(::fcntl(a, F_SETLK, &range), "F_SETLK");
        });
        capture(child);
        ASSERT_EQ(file(a).locks.size(), 2U);
        const auto &posix = file(a).locks[0].kind == model::FileLock::Kind::posix ? file(a).locks[0] : file(a).locks[1];
        EXPECT_EQ(posix.kind, model::FileLock::Kind::posix);
        EXPECT_EQ(posix.pid, child.pid());
        EXPECT_EQ(posix.start, 8U);
        EXPECT_EQ(posix.end, 9U);
    }
    rebuild();
    EXPECT_EQ(file(a).id, file(b).id);
    EXPECT_NE(file(a).id, file(c).id);
    EXPECT_EQ(read(a, 3), "456");
    EXPECT_EQ(read(c, 3), "012");
    EXPECT_EQ(::fcntl(fd(a), F_GETFL) & (O_ACCMODE | O_APPEND), O_RDWR | O_APPEND);
    EXPECT_NE(info_of(fd(a)).find("OFDLCK ADVISORY  WRITE -1"), std::string::npos);
    EXPECT_NE(info_of(fd(c)).find("FLOCK  ADVISORY  READ"), std::string::npos);
}

TEST_F(Kinds, DirectoryAndPathOnly) {
    const Scratch scratch;
    const std::string path = scratch / "dir";
    ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
    capture_and_rebuild([&] {
        put(::open(path.c_str(), O_RDONLY | O_DIRECTORY), a);
        put(::open(path.c_str(), O_PATH), b);
    });
    EXPECT_EQ(link_of(fd(a)), path);
    EXPECT_EQ(link_of(fd(b)), path);
    EXPECT_EQ(::fcntl(fd(b), F_GETFL) & O_PATH, O_PATH);
}

TEST_F(Kinds, Devices) {
    capture_and_rebuild([] {
        put(::open("/dev/zero", O_RDONLY), a);
        put(::open("/dev/full", O_WRONLY), b);
        put(::open("/dev/urandom", O_RDONLY), c);
    });
    EXPECT_EQ(read(a, 2), std::string(2, '\0'));
    EXPECT_EQ(::write(fd(b), "x", 1), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(read(c, 4).size(), 4U);
    EXPECT_EQ(link_of(fd(0)), "/dev/null");
}

// What Linux before 6.5 says of them: nothing about semaphores.
TEST_F(Kinds, EventCountersAreTriedWhereTheKernelDoesNotTell) {
    capture::Context context(tree_, files_, false);
    for (const unsigned count : {0U, 1U, 2U, 5U}) {
        for (const int flags :
             std::initializer_list<int>{0, EFD_SEMAPHORE, EFD_NONBLOCK, EFD_SEMAPHORE | EFD_NONBLOCK}) {
            const Fd file(::eventfd(count, flags));
            const capture::Seen seen{
                .file = &file, .link = "anon_inode:[eventfd]", .info = fmt::format("eventfd-count: {:16x}\n", count)};
            const auto found =
                std::get<model::EventCounter>(must(capture::event_counter_kind().capture(context, seen)));
            EXPECT_EQ(found.count, count);
            EXPECT_EQ(found.semaphore, (flags & EFD_SEMAPHORE) != 0) << count;
            const std::string info = read_file(fmt::format("/proc/self/fdinfo/{}", file.get())).value();
            EXPECT_TRUE(info.contains(fmt::format("eventfd-count: {:16x}", count))) << count << " " << info;
        }
    }
}

TEST_F(Kinds, EventCounters) {
    capture_and_rebuild([] {
        put(::eventfd(7, 0), a);
        put(::eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK), b);
        const uint64_t large = 1ULL << 40U;
        must_call(::write(a, &large, sizeof large), "write");
    });
    uint64_t value = 0;
    ASSERT_EQ(::read(fd(a), &value, sizeof value), 8);
    EXPECT_EQ(value, (1ULL << 40U) + 7);
    EXPECT_EQ(::fcntl(fd(a), F_GETFL) & O_NONBLOCK, 0);
    for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(::read(fd(b), &value, sizeof value), 8);
        EXPECT_EQ(value, 1U);
    }
    EXPECT_EQ(::read(fd(b), &value, sizeof value), -1);
}

TEST_F(Kinds, SignalReceiver) {
    capture_and_rebuild([] {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGRTMAX);
        put(::signalfd(-1, &set, 0), a);
    });
    EXPECT_NE(info_of(fd(a)).find(fmt::format("sigmask:\t{:016x}", (1ULL << 63U) | (1ULL << 9U))), std::string::npos)
        << info_of(fd(a));
}

TEST_F(Kinds, Timers) {
    capture_and_rebuild([] {
        put(::timerfd_create(CLOCK_MONOTONIC, 0), a);
        const itimerspec far = {.it_interval = {30, 5}, .it_value = {1000, 0}};
        must_call(::timerfd_settime(a, 0, &far, nullptr), "timerfd_settime");
        put(::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), b); // never armed
        put(::timerfd_create(CLOCK_MONOTONIC, 0), c);
        const itimerspec often = {.it_interval = {0, 1'000'000}, .it_value = {0, 1'000'000}};
        must_call(::timerfd_settime(c, 0, &often, nullptr), "timerfd_settime");
        ::usleep(20'000);
        put(::timerfd_create(CLOCK_REALTIME, 0), d);
        itimerspec day = {};
        ::clock_gettime(CLOCK_REALTIME, &day.it_value);
        day.it_value.tv_sec += 5000;
        must_call(::timerfd_settime(d, TFD_TIMER_ABSTIME, &day, nullptr), "timerfd_settime");
    });
    itimerspec now = {};
    ASSERT_EQ(::timerfd_gettime(fd(a), &now), 0);
    EXPECT_GE(now.it_value.tv_sec, 990);
    EXPECT_LT(now.it_value.tv_sec, 1000);
    EXPECT_EQ(now.it_interval.tv_sec, 30);
    EXPECT_EQ(now.it_interval.tv_nsec, 5);
    EXPECT_EQ(read(b), "error: Resource temporarily unavailable");
    uint64_t ticks = 0;
    ASSERT_EQ(::read(fd(c), &ticks, sizeof ticks), 8);
    EXPECT_GE(ticks, 20U) << "those before the capture count";
    EXPECT_EQ(file(d).payload.index(), file(a).payload.index());
    ASSERT_EQ(::timerfd_gettime(fd(d), &now), 0);
    EXPECT_GE(now.it_value.tv_sec, 4990);
}

// Each may expire, and so come to a stop, while it is looked at.
TEST_F(Kinds, ShortIntervalTimersGoOn) {
    constexpr std::array fds = {a, b, c, d};
    capture_and_rebuild([&] {
        for (const int at : fds) {
            put(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), at);
            const itimerspec often = {.it_interval = {0, 5000 + (at * 1000L)}, .it_value = {0, 1000}};
            must_call(::timerfd_settime(at, 0, &often, nullptr), "timerfd_settime");
        }
        ::usleep(1000);
    });
    for (int again = 0; again < 3; again++)
        for (const int at : fds) {
            pollfd ready = {.fd = fd(at), .events = POLLIN, .revents = 0};
            ASSERT_EQ(::poll(&ready, 1, 5000), 1) << "timer " << at << ", time " << again;
            uint64_t ticks = 0;
            ASSERT_EQ(::read(fd(at), &ticks, sizeof ticks), 8);
        }
}

TEST_F(Kinds, EpollKnowsItsTargets) {
    Child child([] {
        put(::epoll_create1(0), a);
        make_pipe(b, c);
        put(::eventfd(0, 0), d);
        epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u64 = 0x1234567890}};
        must_call(::epoll_ctl(a, EPOLL_CTL_ADD, b, &event), "epoll_ctl");
        event = {.events = EPOLLIN, .data = {.u64 = 2}};
        must_call(::epoll_ctl(a, EPOLL_CTL_ADD, d, &event), "epoll_ctl");
        must_call(::dup2(d, 20), "dup2");
        ::close(d); // the number no longer means the target
    });
    capture(child);
    const auto &targets = std::get<model::PollSet>(file(a).payload).targets;
    ASSERT_EQ(targets.size(), 2U);
    const auto &pipe = targets[0].number == b ? targets[0] : targets[1];
    const auto &counter = targets[0].number == b ? targets[1] : targets[0];
    EXPECT_EQ(pipe.open_file, file(b).id);
    EXPECT_EQ(pipe.data, 0x1234567890U);
    EXPECT_NE(pipe.events & EPOLLET, 0U);
    EXPECT_EQ(counter.number, d);
    EXPECT_EQ(counter.open_file, file(20).id);
}

TEST_F(Kinds, EpollTargetThatNobodyHoldsIsRefused) {
    Child child([] {
        put(::epoll_create1(0), a);
        put(::eventfd(0, 0), d);
        epoll_event event = {.events = EPOLLIN, .data = {}};
        must_call(::epoll_ctl(a, EPOLL_CTL_ADD, d, &event), "epoll_ctl");
        fork_outsider(); // keeps it open
        ::close(d);
    });
    ASSERT_FALSE(child.failed());
    capture::Context context(tree_, files_, false);
    must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get()));
    const auto done = capture::complete(context);
    ASSERT_FALSE(done);
    EXPECT_NE(done.error().message().find("watches a file, added as descriptor 13"), std::string::npos)
        << done.error().message();
}

// What no kind brings back, by the words of its refusal.
struct Refused {
    std::string_view link, reason;
    int (*make)();
};

int make_io_uring() {
    io_uring_params parameters = {};
    return static_cast<int>(::syscall(SYS_io_uring_setup, 1, &parameters));
}
int make_bpf_map() {
    bpf_attr attributes = {};
    attributes.map_type = BPF_MAP_TYPE_ARRAY;
    attributes.key_size = attributes.value_size = 4;
    attributes.max_entries = 1;
    return static_cast<int>(::syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
}
int make_perf_event() {
    perf_event_attr attributes = {};
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.size = sizeof attributes;
    attributes.config = PERF_COUNT_SW_TASK_CLOCK;
    return static_cast<int>(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0UL));
}

int make_queue() {
    mq_attr attributes = {};
    attributes.mq_maxmsg = 1;
    attributes.mq_msgsize = 8;
    const int queue = ::mq_open("/abeyance-test", O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    ::mq_unlink("/abeyance-test");
    return queue;
}
int pidfd_of(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
int make_other_namespace() {
    const int before = ::open("/proc/self/ns/uts", O_RDONLY);
    return ::unshare(CLONE_NEWUTS) == 0 ? before : -1;
}

const Refused refused_kinds[] = {
    {"anon_inode:[io_uring]", "io_uring", make_io_uring},
    {"anon_inode:[userfaultfd]", "userfaultfd", [] { return static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)); }},
    {"anon_inode:bpf-map", "BPF", make_bpf_map},
    {"anon_inode:[perf_event]", "performance counters", make_perf_event},
    {"anon_inode:[pidfd]", "not part of what is suspended", [] { return pidfd_of(::getppid()); }},
    {"/proc/", "not part of what is suspended",
     [] { return ::open(fmt::format("/proc/{}/status", ::getppid()).c_str(), O_RDONLY); }},
    {"uts:[", "a namespace other than the session's own", make_other_namespace},
    {"socket:[", "vsock", [] { return ::socket(AF_VSOCK, SOCK_STREAM, 0); }},
};

TEST_F(Kinds, RefusedByName) {
    for (const Refused &kind : refused_kinds) {
        SCOPED_TRACE(kind.link);
        Child child([&] { put(static_cast<int>(must_call(kind.make(), "make")), a); });
        capture(child, true);
        ASSERT_EQ(findings_.size(), 1U);
        EXPECT_TRUE(findings_[0].fatal);
        EXPECT_TRUE(findings_[0].object.starts_with(fmt::format("descriptor 10 ({}", kind.link)))
            << findings_[0].object;
        EXPECT_NE(findings_[0].reason.find(kind.reason), std::string::npos) << findings_[0].reason;
        EXPECT_FALSE(findings_[0].advice.empty()) << findings_[0].reason;
        EXPECT_EQ(tree_.descriptor_tables.at(table_).descriptors.size(), 3U) << "0, 1 and 2 remain";

        tree_ = {};
        capture::Context context(tree_, files_, false);
        context.is_inside = [&](int pid) { return pid == child.pid(); };
        const auto refused = capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get());
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().message().find(fmt::format("(test), descriptor 10 ({}", kind.link)),
                  std::string::npos)
            << refused.error().message();
    }
}

// Below so many directories that its path cannot be told, as that of regular files and directories can.
TEST_F(Kinds, AFifoWhosePathIsTooLongIsRefused) {
    std::string top = std::filesystem::temp_directory_path() / "abeyance-deep-XXXXXX";
    ASSERT_NE(::mkdtemp(top.data()), nullptr);
    Child child([&] {
        must_call(::chdir(top.c_str()), "chdir");
        const std::string name(250, 'd');
        for (int i = 0; i < 20; ++i) {
            must_call(::mkdir(name.c_str(), 0700), "mkdir");
            must_call(::chdir(name.c_str()), "chdir");
        }
        must_call(::mkfifo("fifo", 0600), "mkfifo");
        put(::open("fifo", O_RDWR), a);
        must_call(::chdir("/"), "chdir");
    });
    EXPECT_FALSE(child.failed());
    capture::Context context(tree_, files_, false);
    const auto refused = capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get());
    std::filesystem::remove_all(top); // goes down by descriptors
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("(test), descriptor 10: its path is longer than"), std::string::npos)
        << refused.error().message();
}

// Remembers what it was given to keep.
class KeepingFiles : public NamedFiles {
  public:
    Result<model::Strategy> plan(const model::Inode &inode, const Fd & /*file*/,
                                 const engine::FileUse & /*use*/) override {
        return inode.path.ends_with(" (deleted)") ? model::Strategy::embed : model::Strategy::none;
    }
    Result<> keep(model::Inode & /*inode*/, const Fd &file, const engine::FileUse &use) override {
        contents.push_back(TRY(read_all(file, 4096)));
        uses.push_back(use.described());
        return {};
    }
    std::vector<std::string> contents, uses;
};

TEST_F(Kinds, HeldBackDatagramsAreTold) {
    capture_and_rebuild([] {
        const sockaddr_in discard = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        const int on = 1;
        for (const int number : {a, b}) {
            put(::socket(AF_INET, SOCK_DGRAM, 0), number);
            must_call(::connect(number, reinterpret_cast<const sockaddr *>(&discard), sizeof discard), "connect");
            must_call(::setsockopt(number, SOL_UDP, UDP_CORK, &on, sizeof on), "UDP_CORK");
        }
        must_call(::send(a, "part", 4, 0), "send");
    });
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_FALSE(findings_[0].fatal);
    EXPECT_TRUE(findings_[0].object.starts_with("descriptor 10 (")) << findings_[0].object;
    EXPECT_NE(findings_[0].reason.find("UDP_CORK"), std::string::npos) << findings_[0].reason;
    for (const int number : {a, b}) {
        int corked = 0;
        socklen_t size = sizeof corked;
        ASSERT_EQ(::getsockopt(fd(number), SOL_UDP, UDP_CORK, &corked, &size), 0);
        EXPECT_EQ(corked, 1);
    }
}

TEST_F(Kinds, NotificationsOfMessageQueuesAreRefused) {
    Child child([] {
        put(static_cast<int>(must_call(make_queue(), "mq_open")), a);
        sigevent event = {};
        event.sigev_notify = SIGEV_NONE;
        must_call(::mq_notify(a, &event), "mq_notify");
    });
    capture(child, true);
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_TRUE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find("waits for a notification"), std::string::npos) << findings_[0].reason;
}

TEST_F(Kinds, FilesToRescueAreReadableFromTheirBeginning) {
    const Scratch scratch;
    const std::string path = scratch / "file";
    constexpr uint64_t start = 0x7e0000000000, size = 4096;
    Child child([&] {
        put(::open(path.c_str(), O_WRONLY | O_CREAT, 0600), a); // cannot be read by this descriptor
        must_call(::write(a, "written", 7), "write");
        ::unlink(path.c_str());
        put(::open("/proc/self/fd/10", O_RDONLY), b); // the same inode again
        put(::open(path.c_str(), O_RDWR | O_CREAT, 0600), c);
        must_call(::write(c, "mapped", 6), "write");
        must_call(::mmap(reinterpret_cast<void *>(start), size, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, c, 0) ==
                          MAP_FAILED
                      ? -1
                      : 0,
                  "mmap");
        ::unlink(path.c_str());
        ::close(c); // only mapped from here on
    });
    ASSERT_FALSE(child.failed());
    KeepingFiles files;
    capture::Context context(tree_, files, false);
    table_ = must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get()));
    const auto mapped =
        must(capture::capture_mapped_file(context, child.pid(), "test", {.start = start, .end = start + size}, true));
    must(capture::rescue_files(context));
    EXPECT_EQ(files.contents, (std::vector<std::string>{"written", "mapped"})) << "each inode once";
    ASSERT_EQ(files.uses.size(), 2U);
    EXPECT_EQ(files.uses[0], fmt::format("process {} (test), descriptor 10", child.pid()));
    EXPECT_NE(files.uses[1].find("mapping 7e0000000000-7e0000001000"), std::string::npos) << files.uses[1];
    EXPECT_EQ(std::get<model::DiskFile>(file(a).payload).inode, std::get<model::DiskFile>(file(b).payload).inode);
    EXPECT_EQ(tree_.open_files.at(mapped).flags & O_ACCMODE, static_cast<uint32_t>(O_RDWR));
    EXPECT_EQ(::lseek(child.take(a).get(), 0, SEEK_CUR), 7) << "the task's position stays";
}

TEST_F(Kinds, TablesSharedByProcesses) {
    Child child([] { put(::eventfd(1, 0), a); });
    ASSERT_FALSE(child.failed());
    capture::Context context(tree_, files_, false);
    const auto first = must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get()));
    EXPECT_EQ(must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get())), first);
    Child other([] { put(::eventfd(1, 0), a); });
    const auto second = must(capture::capture_descriptors(context, other.pid(), "test", other.pidfd().get()));
    EXPECT_NE(second, first);
    EXPECT_EQ(tree_.descriptor_tables.at(second).descriptors.size(), 4U);
}

} // namespace
