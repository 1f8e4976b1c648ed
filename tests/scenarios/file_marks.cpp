// SPDX-License-Identifier: LGPL-2.1-or-later
// fanotify(7): marks on files, mounts and file systems, what is ignored, and groups that were made without privileges,
// whoever has them now: a user, root without the capability, and a user who was root when it was made.
#include "scenario.h"

#include <algorithm>
#include <vector>

#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>

using namespace scenario;

namespace {

// What fdinfo tells of the marks, in any order.
std::vector<std::string> marks_of(int fd) {
    std::vector<std::string> lines;
    std::istringstream in(read_file("/proc/self/fdinfo/" + std::to_string(fd)));
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("fanotify "))
            lines.push_back(line);
    std::ranges::sort(lines);
    return lines;
}

void mark(int fd, unsigned flags, unsigned long long mask, const std::string &file) {
    SYS(::fanotify_mark(fd, FAN_MARK_ADD | flags, mask, AT_FDCWD, file.c_str()));
}

// All that is there; of the first event mask and process.
struct Event {
    int count = 0;
    unsigned long long mask = 0;
    int pid = -1;
};
Event next_events(int fd) {
    Event found;
    pollfd ready = {fd, POLLIN, 0};
    alignas(fanotify_event_metadata) char buffer[8192];
    while (SYS(::poll(&ready, 1, found.count == 0 ? 500 : 0)) == 1) {
        const ssize_t size = SYS(::read(fd, buffer, sizeof buffer));
        for (ssize_t at = 0; at < size;) {
            const auto *event = reinterpret_cast<const fanotify_event_metadata *>(buffer + at);
            if (found.count++ == 0) {
                found.mask = event->mask;
                found.pid = event->pid;
            }
            if (event->fd >= 0)
                ::close(event->fd);
            at += event->event_len;
        }
    }
    return found;
}

bool is_mount(const std::string &place) {
    struct stat own = {}, above = {};
    return ::stat(place.c_str(), &own) == 0 && ::stat((place + "/..").c_str(), &above) == 0 &&
           own.st_dev != above.st_dev;
}

int make_reporting_group() { return SYS(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_REPORT_FID, O_RDONLY)); }

// As root is without CAP_SYS_ADMIN.
int make_group_without_capability() {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct before[_LINUX_CAPABILITY_U32S_3] = {}, less[_LINUX_CAPABILITY_U32S_3] = {};
    SYS(::syscall(SYS_capget, &header, before));
    SYS(::syscall(SYS_capget, &header, less));
    less[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
    SYS(::syscall(SYS_capset, &header, less));
    const int group = make_reporting_group();
    SYS(::syscall(SYS_capset, &header, before));
    return group;
}

// The events of a group that was made without CAP_SYS_ADMIN do not tell the process. One that was made before the
// privileges were given away goes on telling it.
int ordinary_user(bool made_by_root, int go, int there) {
    int group = made_by_root ? make_reporting_group() : -1;
    SYS(::setgroups(0, nullptr));
    SYS(::setresgid(65533, 65533, 65533));
    SYS(::setresuid(65534, 65534, 65534));
    if (!made_by_root)
        group = make_reporting_group();
    mark(group, 0, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, path("theirs"));
    const auto marks = marks_of(group);
    EQUAL(1, ::write(there, "1", 1));
    char byte = 0;
    EQUAL(1, ::read(go, &byte, 1));
    CHECK(marks == marks_of(group));
    const Event event = next_events(group);
    EQUAL(1, event.count);
    EQUAL(made_by_root ? ::getppid() : 0, event.pid);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    SYS(::chmod(directory.c_str(), 0755));
    SYS(::mkdir(path("watched").c_str(), 0755));
    SYS(::mkdir(path("theirs").c_str(), 0755));
    write_file(path("watched/loud"), "");
    write_file(path("watched/quiet"), "");

    const int files = SYS(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_NOATIME));
    mark(files, 0, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, path("watched"));
    mark(files, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_CLOSE_WRITE, path("watched/quiet"));

    const bool mounted = is_mount("/dev/shm");
    const int whole = SYS(::fanotify_init(FAN_CLASS_NOTIF | FAN_UNLIMITED_MARKS | FAN_REPORT_FID, O_RDONLY));
    if (mounted) {
        mark(whole, FAN_MARK_FILESYSTEM, FAN_DELETE_SELF, "/dev/shm");
        mark(files, FAN_MARK_MOUNT, FAN_OPEN_EXEC, "/dev/shm");
    }

    const int unprivileged = make_group_without_capability();
    mark(unprivileged, 0, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, path("theirs"));

    int go[2], there[2];
    SYS(::pipe(go));
    SYS(::pipe(there));
    pid_t others[2];
    for (const int i : {0, 1}) {
        others[i] = fork_child();
        if (others[i] == 0)
            ::_exit(ordinary_user(i == 1, go[0], there[1]));
    }
    for (int i = 0; i < 2; ++i) {
        char byte = 0;
        EQUAL(1, ::read(there[0], &byte, 1));
    }
    const auto marks_of_files = marks_of(files), marks_of_whole = marks_of(whole);
    EQUAL(mounted ? 4U : 3U, marks_of_files.size());
    ready();
    wait();

    CHECK(marks_of_files == marks_of(files));
    CHECK(marks_of_whole == marks_of(whole));
    (void)next_events(files);
    write_file(path("watched/quiet"), "more");
    EQUAL(0, next_events(files).count);
    write_file(path("watched/loud"), "more");
    const Event event = next_events(files);
    EQUAL(1, event.count);
    EQUAL(FAN_CLOSE_WRITE, event.mask);
    EQUAL(::getpid(), event.pid);
    EQUAL(O_NONBLOCK, ::fcntl(files, F_GETFL) & O_NONBLOCK);
    write_file(path("theirs/new"), "");
    EQUAL(2, ::write(go[1], "23", 2));
    EQUAL(0, exit_status(others[0]));
    EQUAL(0, exit_status(others[1]));
    EQUAL(::getpid(), next_events(unprivileged).pid); // to the process itself it is no secret
    const pid_t writer = fork_child();
    if (writer == 0) {
        write_file(path("theirs/newer"), "");
        ::_exit(0);
    }
    EQUAL(0, exit_status(writer));
    EQUAL(0, next_events(unprivileged).pid);
    pass();
}
