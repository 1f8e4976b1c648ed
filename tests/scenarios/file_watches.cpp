// SPDX-License-Identifier: LGPL-2.1-or-later
// inotify: watches with their numbers, on files however they are called by now; unread events.
#include "scenario.h"

#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <vector>

namespace {

struct Event {
    int number = 0;
    unsigned mask = 0;
    std::string name;
};

// The next event, which must be there; `buffer` holds what was read with it.
Event next(int fd, std::string &buffer) {
    if (buffer.empty()) {
        buffer.resize(65536);
        const ssize_t size = ::read(fd, buffer.data(), buffer.size());
        buffer.resize(size < 0 ? 0 : static_cast<size_t>(size));
    }
    if (buffer.size() < sizeof(inotify_event))
        return {};
    inotify_event event = {};
    std::memcpy(&event, buffer.data(), sizeof event);
    Event result{event.wd, event.mask, {}};
    if (event.len > 0)
        result.name = buffer.c_str() + sizeof event;
    buffer.erase(0, sizeof event + event.len);
    return result;
}

int unread(int fd) {
    int size = -1;
    SYS(::ioctl(fd, FIONREAD, &size));
    return size;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string top = scenario::path("watched");
    SYS(::mkdir(top.c_str(), 0755));
    const std::string file = top + "/file", renamed = top + "/renamed", gone = top + "/gone", link = top + "/link";
    for (const std::string &each : {file, renamed, gone})
        scenario::write_file(each, "text");
    SYS(::symlink("nowhere", link.c_str()));

    const int fd = SYS(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    const int in_directory = SYS(::inotify_add_watch(fd, top.c_str(), IN_CREATE | IN_MOVE | IN_ONLYDIR));
    const int removed = SYS(::inotify_add_watch(fd, "/", IN_DELETE_SELF));
    const int of_renamed = SYS(::inotify_add_watch(fd, renamed.c_str(), IN_MODIFY | IN_ONESHOT));
    const int of_link = SYS(::inotify_add_watch(fd, link.c_str(), IN_ATTRIB | IN_DONT_FOLLOW));
    const int of_gone = SYS(::inotify_add_watch(fd, gone.c_str(), IN_MODIFY));
    const int of_file = SYS(::inotify_add_watch(fd, file.c_str(), IN_MODIFY | IN_ATTRIB));
    SYS(::inotify_rm_watch(fd, removed));
    const int gone_file = SYS(::open(gone.c_str(), O_WRONLY));
    SYS(::unlink(gone.c_str())); // lives on in its descriptor, and in its watch
    SYS(::rename(renamed.c_str(), (top + "/other name").c_str()));
    std::string buffer;
    while (unread(fd) > 0)
        (void)next(fd, buffer);
    buffer.clear();
    const int same = SYS(::dup(fd));

    const int busy = SYS(::inotify_init());
    const int of_busy = SYS(::inotify_add_watch(busy, file.c_str(), IN_MODIFY));
    SYS(::truncate(file.c_str(), 2));
    while (unread(fd) > 0)
        (void)next(fd, buffer);
    buffer.clear();
    CHECK(unread(busy) > 0);
    const int empty = SYS(::inotify_init1(0));
    const int many = SYS(::inotify_init1(IN_NONBLOCK));
    std::vector<int> numbers;
    for (int i = 0; i < 40; ++i) {
        const std::string each = scenario::path("many" + std::to_string(i));
        SYS(::mkdir(each.c_str(), 0755));
        numbers.push_back(SYS(::inotify_add_watch(many, each.c_str(), IN_CREATE)));
    }
    CHECK(numbers.back() >= 40);
    EQUAL(0, unread(fd));
    scenario::ready();
    scenario::wait();

    EQUAL(0, unread(fd));
    EQUAL(0, unread(same));
    EQUAL(0, unread(empty));
    EQUAL(FD_CLOEXEC, ::fcntl(fd, F_GETFD));
    EQUAL(-1, ::inotify_rm_watch(fd, removed));

    SYS(::truncate(file.c_str(), 1));
    Event event = next(fd, buffer);
    EQUAL(of_file, event.number);
    EQUAL(IN_MODIFY, event.mask);
    EQUAL(1, ::write(gone_file, "x", 1));
    event = next(same, buffer);
    EQUAL(of_gone, event.number);
    EQUAL(IN_MODIFY, event.mask);
    SYS(::truncate((top + "/other name").c_str(), 1));
    event = next(fd, buffer);
    EQUAL(of_renamed, event.number);
    EQUAL(IN_MODIFY, event.mask);
    event = next(fd, buffer); // once only
    EQUAL(of_renamed, event.number);
    EQUAL(IN_IGNORED, event.mask);
    SYS(::lchown(link.c_str(), 1, 1));
    event = next(fd, buffer);
    EQUAL(of_link, event.number);
    EQUAL(IN_ATTRIB, event.mask);
    scenario::write_file(top + "/new", "");
    event = next(fd, buffer);
    EQUAL(in_directory, event.number);
    EQUAL(IN_CREATE, event.mask);
    EQUAL(std::string("new"), event.name);
    EQUAL(0, unread(fd));

    for (int i = 0; i < 40; ++i) {
        buffer.clear();
        scenario::write_file(scenario::path("many" + std::to_string(i)) + "/new", "");
        EQUAL(numbers.at(static_cast<size_t>(i)), next(many, buffer).number);
    }

    // what had not been read is there, or there is word that something was lost
    buffer.clear();
    event = next(busy, buffer);
    CHECK(event.mask == IN_Q_OVERFLOW || (event.mask == IN_MODIFY && event.number == of_busy));
    while (unread(busy) > 0)
        (void)next(busy, buffer);
    buffer.clear();
    SYS(::truncate(file.c_str(), 0));
    CHECK(unread(busy) > 0);
    event = next(busy, buffer);
    EQUAL(of_busy, event.number);
    EQUAL(IN_MODIFY, event.mask);
    scenario::pass();
}
