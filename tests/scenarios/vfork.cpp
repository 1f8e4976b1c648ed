// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads that wait in vfork(2) until their child starts a program, which takes the child a while: one of the first
// process, and, for longer, one of its child.
#include "scenario.h"

#include <atomic>
#include <thread>

#include <sched.h>
#include <sys/syscall.h>

namespace {

class Starter {
  public:
    explicit Starter(long wait_ns)
        : thread_([this, wait_ns] {
              // the child runs on this stack, in this memory: it may do little more than this
              const pid_t pid = ::vfork(); // NOLINT: what it is about
              if (pid == 0) {
                  ::syscall(SYS_close_range, 3U, ~0U, 0U); // NOLINT: what its program will not have
                  child_ = static_cast<pid_t>(::syscall(SYS_getpid));
                  const timespec while_ = {0, wait_ns};
                  ::syscall(SYS_nanosleep, &while_, nullptr);
                  ::execl("/bin/sleep", "sleep", "1000", nullptr);
                  ::_exit(1);
              }
          }) {
        while (child_ == 0)
            ::usleep(1000);
    }

    void end() {
        thread_.join(); // it has gone on
        CHECK(child_ > 0);
        SYS(::kill(child_, SIGKILL));
        EQUAL(128 + SIGKILL, scenario::exit_status(child_));
    }

  private:
    std::atomic<pid_t> child_ = 0;
    std::thread thread_;
};

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    int started[2];
    SYS(::pipe(started));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        ::close(started[0]);
        Starter starter(600000000);
        ::close(started[1]);
        scenario::wait();
        starter.end();
        ::_exit(7);
    }
    ::close(started[1]);
    char none = 0;
    EQUAL(0, ::read(started[0], &none, 1));
    ::close(started[0]);
    Starter starter(300000000);
    scenario::ready();
    scenario::wait();
    starter.end();
    SYS(::kill(child, SIGTERM));
    EQUAL(7, scenario::exit_status(child));
    scenario::pass();
}
