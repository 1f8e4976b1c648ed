// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Objects made by a child, captured from there and made again in the test itself.
#pragma once

#include "engine/capture/descriptors.h"
#include "engine/capture/shared_memory.h"
#include "engine/rebuild/objects.h"

#include <cstring>
#include <filesystem>
#include <stdexcept>

#include <gtest/gtest.h>

#include <csignal>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace abey::test {

template <class T> T must(Result<T> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
    return std::move(*result);
}
inline void must(Result<> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
}
// For system calls.
inline long must_call(long result, const char *what) {
    if (result < 0)
        throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
    return result;
}

inline std::string link_of(int fd) { return must(read_link("/proc/self/fd/" + std::to_string(fd))); }

// In a child: the descriptor under a number that the test knows it by.
inline void put(int fd, int number) {
    must_call(fd, "a descriptor");
    must_call(::dup2(fd, number), "dup2");
    ::close(fd);
}

inline void make_pipe(int read_number, int write_number, int flags = 0) {
    int ends[2] = {-1, -1};
    must_call(::pipe2(ends, flags), "pipe2");
    put(ends[0], read_number);
    put(ends[1], write_number);
}

// In a child: a process outside the tree that holds what the child holds now, and ends with it.
inline void fork_outsider() {
    const pid_t parent = ::getpid();
    if (must_call(::fork(), "fork") != 0)
        return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (::getppid() == parent) // it may have ended before the request was made
        ::pause();
    ::_exit(0);
}

// A process that has run `set_up` with nothing open but 0, 1 and 2 on /dev/null, and now stands still. Killed at the
// end.
class Child {
  public:
    explicit Child(const std::function<void()> &set_up) {
        pid_ = static_cast<int>(must_call(::fork(), "fork"));
        if (pid_ == 0)
            run(set_up);
        int status = 0;
        ::waitpid(pid_, &status, WUNTRACED);
        failed_ = !WIFSTOPPED(status);
        if (failed_)
            pid_ = 0;
        else
            pidfd_ = Fd(static_cast<int>(must_call(::syscall(SYS_pidfd_open, pid_, 0), "pidfd_open")));
    }
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
    [[nodiscard]] int pid() const { return pid_; }
    [[nodiscard]] const Fd &pidfd() const { return pidfd_; }
    [[nodiscard]] bool failed() const { return failed_; }
    // The child's descriptor, in the test.
    [[nodiscard]] Fd take(int number) const {
        return Fd(static_cast<int>(must_call(::syscall(SYS_pidfd_getfd, pidfd_.get(), number, 0), "pidfd_getfd")));
    }

  private:
    [[noreturn]] static void run(const std::function<void()> &set_up) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::syscall(SYS_close_range, 0, ~0U, 0);
        for (int number = 0; number < 3; ++number)
            ::open("/dev/null", O_RDWR);
        try {
            set_up();
        } catch (const std::exception &) {
            ::_exit(1);
        }
        ::raise(SIGSTOP);
        for (;;)
            ::pause();
    }

    int pid_ = 0;
    bool failed_ = false;
    Fd pidfd_;
};

// Just enough for files that keep their names.
class NamedFiles : public engine::FileKeeper, public engine::FileOpener {
  public:
    Result<model::Inode> identify(const Fd &file, const std::string &shown, const Fd & /*root*/,
                                  bool /*elsewhere*/) override {
        const auto st = stat_of(file);
        model::Inode inode;
        inode.path = shown;
        inode.mode = st->st_mode;
        inode.rdev = st->st_rdev;
        return inode;
    }
    Result<model::Strategy> plan(const model::Inode & /*inode*/, const Fd & /*file*/,
                                 const engine::FileUse & /*use*/) override {
        return model::Strategy::none;
    }
    Result<> keep(model::Inode & /*inode*/, const Fd & /*file*/, const engine::FileUse & /*use*/) override {
        return {};
    }
    Result<> sync() override { return {}; }
    void discard() noexcept override {}
    void enter(model::ObjRef /*mount_namespace*/, int /*root*/) override {}
    Result<> recognise(const model::Inode & /*inode*/, const Fd & /*file*/) override { return {}; }
    Result<> check(const model::Inode & /*inode*/) override { return {}; }
    Result<Fd> open(const model::Inode &inode, uint32_t flags) override {
        return abey::open_file(inode.path, static_cast<int>(flags));
    }
    Result<> finish(bool /*keep_checkpoint*/) override { return {}; }
};

// A directory of the test's own, gone at the end.
class Scratch {
  public:
    Scratch() {
        char name[] = "/tmp/abeyance-test-XXXXXX";
        if (::mkdtemp(name) == nullptr)
            throw std::runtime_error("mkdtemp");
        path_ = name;
    }
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;
    ~Scratch() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] std::string operator/(const std::string &name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

// Capture of one child, then everything made again in the test.
class Kinds : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0)
            GTEST_SKIP() << "needs root";
    }
    // Everything of the child into tree_; the descriptors go to table_.
    void capture(Child &child, bool preflight = false) {
        ASSERT_FALSE(child.failed()) << "the child could not set up its objects";
        tree_ = {};
        capture::Context context(tree_, files_, preflight);
        context.is_inside = [&](int pid) { return pid == child.pid(); };
        context.unix_peers = unix_peers_;
        table_ = must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get()));
        must(capture::complete(context));
        findings_ = std::move(context.findings);
    }
    void rebuild() {
        rebuilt_ = std::make_unique<rebuild::Context>(tree_, files_, std::move(pages_));
        must(rebuild::fill(*rebuilt_));
        must(rebuild::finish(*rebuilt_));
    }
    void capture_and_rebuild(const std::function<void()> &set_up) {
        Child child(set_up);
        capture(child);
        child.end();
        rebuild();
    }
    const model::OpenFile &file(int number) {
        for (const auto &descriptor : tree_.descriptor_tables.at(table_).descriptors)
            if (descriptor.number == number)
                return tree_.open_files.at(descriptor.open_file);
        throw std::runtime_error("no descriptor " + std::to_string(number));
    }
    // The test's descriptor of what the child had as `number`.
    int fd(int number) { return must(rebuilt_->open_file(file(number).id)); }
    std::string read(int number, size_t size = 65536) {
        std::string data(size, '\0');
        const ssize_t got = ::read(fd(number), data.data(), size);
        if (got < 0)
            return "error: " + std::string(std::strerror(errno));
        data.resize(static_cast<size_t>(got));
        return data;
    }

    NamedFiles files_;
    engine::UnixPeerPolicy unix_peers_;
    model::Tree tree_;
    model::ObjRef table_ = 0;
    std::vector<capture::Finding> findings_;
    Fd pages_;
    std::unique_ptr<rebuild::Context> rebuilt_;
};

} // namespace abey::test
