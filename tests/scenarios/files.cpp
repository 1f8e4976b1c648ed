// SPDX-License-Identifier: LGPL-2.1-or-later
// Regular files with position, flags and O_APPEND; directories, O_PATH, devices; dup, fork and SCM_RIGHTS share a
// position.
#include "scenario.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

namespace {

std::string link_of(int fd) {
    char name[4096] = {};
    (void)!::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof name - 1);
    return name;
}

int device(const char *name) { return SYS(::open(name, O_RDWR | O_NONBLOCK)); }

void send_descriptor(int to, int fd) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    char byte = 'x';
    iovec data = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
    EQUAL(1, SYS(::sendmsg(to, &message, 0)));
}

int receive_descriptor(int from) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    char byte = 0;
    iovec data = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    EQUAL(1, SYS(::recvmsg(from, &message, 0)));
    EQUAL('x', byte);
    const cmsghdr *head = CMSG_FIRSTHDR(&message);
    CHECK(head != nullptr && head->cmsg_type == SCM_RIGHTS);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

long position(int fd) { return ::lseek(fd, 0, SEEK_CUR); }

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string name = scenario::path("data");
    scenario::write_file(name, std::string(1000, 'd'));
    const int reading = SYS(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    SYS(::lseek(reading, 123, SEEK_SET));
    const int appending = SYS(::open(name.c_str(), O_WRONLY | O_APPEND | O_SYNC));
    const int second = SYS(::fcntl(reading, F_DUPFD, 200));
    const int own = SYS(::open(name.c_str(), O_RDONLY)); // the same file, not the same position
    SYS(::lseek(own, 5, SEEK_SET));
    const int by_path = SYS(::open(name.c_str(), O_PATH));
    int pair[2];
    SYS(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    send_descriptor(pair[0], reading); // in flight
    const int passed_before = (send_descriptor(pair[1], reading), receive_descriptor(pair[0]));

    SYS(::mkdir(scenario::path("directory").c_str(), 0755));
    for (const char *entry : {"a", "b", "c", "d"})
        scenario::write_file(scenario::path("directory/") + entry, "");
    const int directory = SYS(::open(scenario::path("directory").c_str(), O_RDONLY | O_DIRECTORY));
    const int null = device("/dev/null");
    const int zero = device("/dev/zero");
    const int full = device("/dev/full");
    const int random = SYS(::open("/dev/urandom", O_RDONLY));
    const std::string own_link = link_of(own);

    int to_child[2];
    int to_parent[2];
    SYS(::pipe(to_child));
    SYS(::pipe(to_parent));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        char byte = 0;
        EQUAL(1, ::read(to_child[0], &byte, 1));
        EQUAL(777, position(reading));
        SYS(::lseek(second, 333, SEEK_SET));
        EQUAL(1, ::write(to_parent[1], "p", 1));
        ::_exit(0);
    }
    scenario::ready();
    scenario::wait();

    EQUAL(own_link, link_of(own));
    EQUAL(123, position(reading));
    EQUAL(5, position(own));
    EQUAL(FD_CLOEXEC, ::fcntl(reading, F_GETFD));
    EQUAL(0, ::fcntl(appending, F_GETFD));
    EQUAL(O_WRONLY | O_APPEND | O_SYNC, ::fcntl(appending, F_GETFL) & ~O_LARGEFILE & ~0100000);
    EQUAL(O_PATH, ::fcntl(by_path, F_GETFL) & O_PATH);
    EQUAL(3, ::write(appending, "end", 3));
    EQUAL(1003, scenario::read_file(name).size());
    const int received = receive_descriptor(pair[1]);
    SYS(::lseek(received, 777, SEEK_SET));
    EQUAL(777, position(reading));
    EQUAL(777, position(second));
    EQUAL(777, position(passed_before));
    EQUAL(5, position(own));
    char byte = 0;
    EQUAL(1, ::write(to_child[1], "c", 1));
    const int status = scenario::exit_status(child);
    EQUAL(0, status);
    EQUAL(1, ::read(to_parent[0], &byte, 1));
    EQUAL(333, position(received));

    int entries = 0;
    DIR *stream = ::fdopendir(directory);
    CHECK(stream != nullptr);
    while (::readdir(stream) != nullptr)
        ++entries;
    EQUAL(6, entries);
    EQUAL(1, ::write(null, "n", 1));
    EQUAL(0, ::read(null, &byte, 1));
    byte = 'x';
    EQUAL(1, ::read(zero, &byte, 1));
    EQUAL(0, byte);
    EQUAL(-1, ::write(full, "f", 1));
    EQUAL(ENOSPC, errno);
    EQUAL(O_NONBLOCK, ::fcntl(full, F_GETFL) & O_NONBLOCK);
    EQUAL(1, ::read(random, &byte, 1));
    struct stat about = {};
    SYS(::fstat(random, &about));
    EQUAL(makedev(1, 9), about.st_rdev);
    scenario::pass();
}
