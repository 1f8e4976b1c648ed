// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What only the task itself can do for its descriptors, done by a process that stands for the restored one.
#include "engine/os/injection.h"
#include "kinds_fixture.h"

#include <algorithm>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ptrace.h>

using namespace abey;
using namespace abey::test;

namespace {

constexpr int a = 10, b = 11, c = 12, d = 13, far = 20;

void watch(int epoll, int number, uint64_t data) {
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = data}};
    must_call(::epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event), "epoll_ctl");
}

Result<> run_in(int pid, rebuild::Context &context, const model::Task &task) {
    auto thread = TRY(os::Tracee::seize(pid, PTRACE_O_TRACESYSGOOD));
    TRY(thread.settle());
    const auto status = TRY(os::read_status(pid));
    const auto mappings = TRY(os::read_smaps(pid));
    os::Gadgets gadgets;
    auto injection = TRY(os::Injection::enter(thread, status, mappings, gadgets));
    auto batch = injection.batch();
    const auto flush = [&]() -> Result<> {
        TRY(injection.run(thread, status.own_tid, batch));
        batch.clear();
        return {};
    };
    TRY(rebuild::in_task(context, task, batch, flush));
    TRY(flush());
    return injection.leave();
}

class InTask : public Kinds {
  protected:
    // A process with the rebuilt descriptors at their numbers; then in_task() there, then its capture.
    void restore_and_capture_again() {
        rebuilt_ = std::make_unique<rebuild::Context>(tree_, files_, Fd());
        must(rebuild::fill(*rebuilt_));
        std::vector<std::pair<int, int>> places;
        for (const auto &descriptor : tree_.descriptor_tables.at(table_).descriptors)
            places.emplace_back(::fcntl(must(rebuilt_->open_file(descriptor.open_file)), F_DUPFD_CLOEXEC, 500),
                                descriptor.number);
        const int pid = ::fork();
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (const auto &[from, to] : places)
                ::dup2(from, to);
            std::vector<int> keep;
            keep.reserve(places.size());
            for (const auto &[from, to] : places)
                keep.push_back(to);
            for (int number = 0; number < 1000; ++number)
                if (std::ranges::find(keep, number) == keep.end())
                    ::close(number);
            ::raise(SIGSTOP);
            for (;;)
                ::pause();
        }
        ::waitpid(pid, nullptr, WUNTRACED);
        ::kill(pid, SIGCONT);
        model::Task task;
        task.pid = old_pid_;
        task.descriptors = table_;
        tree_.tasks.push_back(task);
        const auto ran = run_in(pid, *rebuilt_, tree_.tasks.back());
        EXPECT_TRUE(ran) << ran.error().message();
        for (const auto &[from, to] : places)
            ::close(from);
        const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
        capture::Context context(again_, files_, false);
        const auto table = capture::capture_descriptors(context, pid, "again", pidfd.get());
        EXPECT_TRUE(table) << table.error().message();
        const auto completed = capture::complete(context);
        EXPECT_TRUE(completed) << completed.error().message();
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        for (const auto &descriptor : again_.descriptor_tables.at(*table).descriptors)
            numbers_[descriptor.number] = descriptor.open_file;
    }

    int old_pid_ = 0;
    model::Tree again_;
    std::map<int, model::ObjRef> numbers_; // open files of the second capture
};

TEST_F(InTask, EpollTargetsUnderEveryKindOfNumber) {
    {
        Child child([] {
            put(::epoll_create1(0), a);
            put(::eventfd(0, 0), b);
            watch(a, b, 1);
            put(::eventfd(0, 0), c);
            watch(a, c, 2);
            must_call(::dup2(c, far), "dup2");
            ::close(c); // its number is free now
            put(::eventfd(0, 0), d);
            watch(a, d, 3);
            must_call(::dup2(d, far + 1), "dup2");
            put(::open("/dev/null", O_RDONLY), d); // and its number means another file
            must_call(::fcntl(d, F_SETFD, FD_CLOEXEC), "F_SETFD");
        });
        capture(child);
        old_pid_ = child.pid();
    }
    restore_and_capture_again();
    ASSERT_EQ(numbers_.size(), 8U) << "no descriptor more, none less";
    auto targets = std::get<model::PollSet>(again_.open_files.at(numbers_.at(a)).payload).targets;
    std::ranges::sort(targets, {}, &model::PollTarget::data);
    ASSERT_EQ(targets.size(), 3U);
    EXPECT_EQ(targets[0].number, b);
    EXPECT_EQ(targets[0].open_file, numbers_.at(b));
    EXPECT_EQ(targets[1].number, c);
    EXPECT_EQ(targets[1].open_file, numbers_.at(far));
    EXPECT_EQ(targets[2].number, d);
    EXPECT_EQ(targets[2].open_file, numbers_.at(far + 1));
    EXPECT_TRUE(std::holds_alternative<model::Device>(again_.open_files.at(numbers_.at(d)).payload));
}

TEST_F(InTask, ManyEpollTargets) {
    {
        Child child([] {
            put(::epoll_create1(0), a);
            for (int number = 100; number < 400; ++number) {
                put(::eventfd(0, 0), number);
                watch(a, number, static_cast<uint64_t>(number));
            }
        });
        capture(child);
        old_pid_ = child.pid();
    }
    restore_and_capture_again();
    EXPECT_EQ(std::get<model::PollSet>(again_.open_files.at(numbers_.at(a)).payload).targets.size(), 300U);
}

TEST_F(InTask, PosixLocksAndOwners) {
    const Scratch scratch;
    const std::string path = scratch / "file";
    must(write_file(path, "0123456789"));
    {
        Child child([&] {
            put(::open(path.c_str(), O_RDWR), a);
            must_call(::dup2(a, b), "dup2");
            struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 2};
            must_call(::fcntl(a, F_SETLK, &range), "F_SETLK");
            int ends[2] = {-1, -1};
            must_call(::pipe(ends), "pipe");
            put(ends[0], c);
            put(ends[1], d);
            must_call(::setresuid(4711, 4712, 0), "setresuid");
            const f_owner_ex owner = {.type = F_OWNER_PID, .pid = ::getpid()};
            must_call(::fcntl(c, F_SETOWN_EX, &owner), "F_SETOWN_EX");
            must_call(::setresuid(0, 0, 0), "setresuid");
            must_call(::fcntl(c, F_SETSIG, SIGUSR2), "F_SETSIG");
            must_call(::fcntl(c, F_SETFL, O_ASYNC | O_NONBLOCK), "F_SETFL");
        });
        capture(child);
        old_pid_ = child.pid();
        EXPECT_EQ(file(c).owner.uid, 4711U);
    }
    // the stand-in has another pid than the task that it stands for
    tree_.open_files.at(file(c).id).owner.pid = ::getpid();
    model::Task owner;
    owner.pid = ::getpid();
    owner.descriptors = 0;
    tree_.tasks.push_back(owner);
    restore_and_capture_again();
    const auto &locked = again_.open_files.at(numbers_.at(a));
    ASSERT_EQ(locked.locks.size(), 1U);
    EXPECT_EQ(locked.locks[0].kind, model::FileLock::Kind::posix);
    EXPECT_EQ(locked.locks[0].start, 3U);
    EXPECT_EQ(locked.locks[0].end, 4U);
    const auto &asynchronous = again_.open_files.at(numbers_.at(c));
    EXPECT_EQ(asynchronous.owner.pid, ::getpid());
    EXPECT_EQ(asynchronous.owner.uid, 4711U);
    EXPECT_EQ(asynchronous.owner.euid, 4712U);
    EXPECT_EQ(asynchronous.owner.signal, SIGUSR2);
    EXPECT_EQ(asynchronous.flags & (O_ASYNC | O_NONBLOCK), static_cast<uint32_t>(O_ASYNC | O_NONBLOCK));
}

} // namespace
