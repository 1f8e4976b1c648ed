// SPDX-License-Identifier: LGPL-2.1-or-later
// More open files in a tree than the engine may have descriptors: run.py gives it 1000 of them. How many processes
// there are, and how many files each has, can be told by a file "counts".
#include "scenario.h"

#include <sys/eventfd.h>
#include <vector>

namespace {

struct Counts {
    int processes = 40, files = 70;
};

struct Held {
    std::vector<int> files;
    int same = -1; // a duplicate of the last
    int ends[2] = {-1, -1};
    int counter = -1;
};

std::string words(int number) { return "process " + std::to_string(number); }

Held hold(int number, const Counts &counts) {
    Held held;
    for (int i = 0; i < counts.files; ++i) {
        const int flags = i % 2 == 0 ? O_RDONLY : O_RDWR | O_APPEND;
        held.files.push_back(SYS(::open(scenario::path("data").c_str(), flags | (i % 3 == 0 ? O_CLOEXEC : 0))));
        EQUAL(number + i, ::lseek(held.files.back(), number + i, SEEK_SET));
    }
    held.same = SYS(::dup(held.files.back()));
    SYS(::pipe2(held.ends, O_CLOEXEC));
    const std::string text = words(number);
    EQUAL(text.size(), ::write(held.ends[1], text.data(), text.size()));
    held.counter = SYS(::eventfd(static_cast<unsigned>(number) + 1, 0));
    return held;
}

std::string read_some(int fd) {
    char text[64];
    const auto size = SYS(::read(fd, text, sizeof text));
    return {text, static_cast<size_t>(size)};
}

void check(const Held &held, int number, const Counts &counts) {
    for (int i = 0; i < counts.files; ++i) {
        const int fd = held.files.at(static_cast<size_t>(i));
        EQUAL(number + i, ::lseek(fd, 0, SEEK_CUR));
        EQUAL(i % 3 == 0 ? FD_CLOEXEC : 0, ::fcntl(fd, F_GETFD));
        EQUAL(i % 2 == 0 ? O_RDONLY : O_RDWR | O_APPEND, ::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
    }
    SYS(::lseek(held.same, 7, SEEK_SET)); // one open file
    EQUAL(7, ::lseek(held.files.back(), 0, SEEK_CUR));
    EQUAL(words(number), read_some(held.ends[0]));
    EQUAL(2, ::write(held.ends[1], "on", 2));
    EQUAL("on", read_some(held.ends[0]));
    SYS(::close(held.ends[1]));
    EQUAL("", read_some(held.ends[0])); // nobody else has the other end
    uint64_t count = 0;
    EQUAL(sizeof count, ::read(held.counter, &count, sizeof count));
    EQUAL(number + 1, count);
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    Counts counts;
    std::istringstream(scenario::read_file(scenario::path("counts"))) >> counts.processes >> counts.files;
    scenario::write_file(scenario::path("data"), std::string(1000, 'd'));
    struct Child {
        pid_t pid;
        int words; // the end of a pipe to it
    };
    std::vector<Child> children;
    int all_up[2];
    SYS(::pipe2(all_up, O_CLOEXEC));
    for (int number = 1; number < counts.processes; ++number) {
        int ends[2];
        SYS(::pipe2(ends, O_CLOEXEC));
        const pid_t child = scenario::fork_child();
        if (child == 0) {
            for (const Child &other : children)
                ::close(other.words);
            ::close(ends[0]);
            ::close(all_up[0]);
            const Held held = hold(number, counts);
            EQUAL(5, ::write(ends[1], "early", 5));
            EQUAL(1, ::write(all_up[1], "u", 1));
            ::close(all_up[1]);
            scenario::wait();
            check(held, number, counts);
            EQUAL(4, ::write(ends[1], "late", 4));
            ::_exit(0);
        }
        ::close(ends[1]);
        children.push_back({child, ends[0]});
    }
    const Held held = hold(0, counts);
    ::close(all_up[1]);
    char up = 0;
    for (size_t i = 0; i < children.size(); ++i)
        EQUAL(1, ::read(all_up[0], &up, 1));
    ::close(all_up[0]);
    scenario::ready();
    scenario::wait();
    check(held, 0, counts);
    for (const Child &child : children) {
        SYS(::kill(child.pid, SIGTERM));
        EQUAL(0, scenario::exit_status(child.pid));
        EQUAL("earlylate", read_some(child.words));
        EQUAL("", read_some(child.words)); // its end has gone with it
    }
    scenario::pass();
}
