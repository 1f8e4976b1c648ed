// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes in uts and ipc namespaces of their own: names of the host, settings, System V objects and POSIX message
// queues which the session has under the same keys and names, too, and such as no process has attached or open; a
// descriptor of such a namespace.
#include "scenario.h"

#include <array>
#include <cstring>

#include <mqueue.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/utsname.h>

namespace {

constexpr key_t key = 0x4142454e;
constexpr const char *queue_name = "/abeyance-namespaces", *left_queue = "/abeyance-left";
constexpr size_t memory_size = 8192;
constexpr const char *setting = "/proc/sys/kernel/msgmnb";

struct Message {
    long type;
    std::array<char, 16> text;
};

// What each side has under the same names, with other contents.
struct Things {
    int set = -1, queue = -1, segment = -1;
    mqd_t posix = -1;
    char *memory = nullptr;

    static Things make(const char *text, int value) {
        Things own;
        own.set = SYS(::semget(key, 1, IPC_CREAT | IPC_EXCL | 0600));
        SYS(::semctl(own.set, 0, SETVAL, value));
        own.queue = SYS(::msgget(key, IPC_CREAT | IPC_EXCL | 0600));
        Message message = {1, {}};
        ::strncpy(message.text.data(), text, message.text.size() - 1);
        SYS(::msgsnd(own.queue, &message, message.text.size(), 0));
        mq_attr attributes = {};
        attributes.mq_maxmsg = 4;
        attributes.mq_msgsize = 64;
        own.posix = SYS(::mq_open(queue_name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes));
        SYS(::mq_send(own.posix, text, ::strlen(text), 3));
        own.segment = SYS(::shmget(key, memory_size, IPC_CREAT | IPC_EXCL | 0600));
        own.memory = static_cast<char *>(::shmat(own.segment, nullptr, 0));
        CHECK(own.memory != reinterpret_cast<char *>(-1));
        scenario::put_text(own.memory, text);
        return own;
    }
    void check(const char *text, int value) const {
        EQUAL(set, ::semget(key, 1, 0));
        EQUAL(value, ::semctl(set, 0, GETVAL));
        EQUAL(queue, ::msgget(key, 0));
        Message message = {};
        SYS(::msgrcv(queue, &message, message.text.size(), 0, IPC_NOWAIT));
        EQUAL(std::string(text), std::string(message.text.data()));
        std::array<char, 64> got = {};
        SYS(::mq_receive(posix, got.data(), got.size(), nullptr));
        EQUAL(std::string(text), std::string(got.data()));
        const mqd_t again = SYS(::mq_open(queue_name, O_RDWR));
        SYS(::mq_send(again, "new", 3, 0));
        EQUAL(3, ::mq_receive(posix, got.data(), got.size(), nullptr));
        EQUAL(segment, ::shmget(key, 0, 0));
        EQUAL(std::string(text), std::string(memory));
        shmid_ds there = {};
        SYS(::shmctl(segment, IPC_STAT, &there));
        EQUAL(memory_size, there.shm_segsz);
        CHECK(there.shm_nattch > 0);
        SYS(::shmctl(segment, IPC_RMID, nullptr));
        SYS(::mq_unlink(queue_name));
        SYS(::semctl(set, 0, IPC_RMID));
        SYS(::msgctl(queue, IPC_RMID, nullptr));
    }
};

// What lies there, and no process holds.
struct Left {
    int segment = -1;

    static Left make() {
        Left own;
        own.segment = SYS(::shmget(key + 1, memory_size, IPC_CREAT | IPC_EXCL | 0640));
        auto *memory = static_cast<char *>(::shmat(own.segment, nullptr, 0));
        CHECK(memory != reinterpret_cast<char *>(-1));
        scenario::put_text(memory + 4096, "left behind");
        SYS(::shmdt(memory));
        mq_attr attributes = {};
        attributes.mq_maxmsg = 3;
        attributes.mq_msgsize = 32;
        const mqd_t queue = SYS(::mq_open(left_queue, O_RDWR | O_CREAT | O_EXCL, 0604, &attributes));
        SYS(::mq_send(queue, "second", 6, 1));
        SYS(::mq_send(queue, "first", 5, 2));
        SYS(::mq_close(queue));
        return own;
    }
    void check() const {
        EQUAL(segment, ::shmget(key + 1, 0, 0));
        shmid_ds there = {};
        SYS(::shmctl(segment, IPC_STAT, &there));
        EQUAL(memory_size, there.shm_segsz);
        EQUAL(0640, there.shm_perm.mode & 0777);
        EQUAL(0U, there.shm_nattch);
        auto *memory = static_cast<char *>(::shmat(segment, nullptr, SHM_RDONLY));
        CHECK(memory != reinterpret_cast<char *>(-1));
        EQUAL(std::string("left behind"), std::string(memory + 4096));
        EQUAL('\0', *memory);
        const mqd_t queue = SYS(::mq_open(left_queue, O_RDONLY));
        struct stat st = {};
        SYS(::fstat(queue, &st));
        EQUAL(0604U, st.st_mode & 0777U);
        std::array<char, 32> got = {};
        unsigned priority = 0;
        EQUAL(5, ::mq_receive(queue, got.data(), got.size(), &priority));
        EQUAL(2U, priority);
        EQUAL(6, ::mq_receive(queue, got.data(), got.size(), &priority));
        EQUAL(1U, priority);
        mq_attr attributes = {};
        SYS(::mq_getattr(queue, &attributes));
        EQUAL(3, attributes.mq_maxmsg);
        EQUAL(0, attributes.mq_curmsgs);
    }
};

std::string host() {
    utsname names = {};
    SYS(::uname(&names));
    return std::string(names.nodename) + "." + names.domainname;
}

ino_t inode_of(int fd) {
    struct stat st = {};
    SYS(::fstat(fd, &st));
    return st.st_ino;
}

ino_t namespace_of(pid_t pid, const char *name) {
    struct stat st = {};
    SYS(::stat(("/proc/" + std::to_string(pid) + "/ns/" + name).c_str(), &st));
    return st.st_ino;
}

struct Pipe {
    int ends[2] = {};
    Pipe() { SYS(::pipe(ends)); }
    void tell() const { SYS(::write(ends[1], "x", 1)); }
    void wait() const {
        char byte = 0;
        ssize_t got = 0;
        while ((got = ::read(ends[0], &byte, 1)) < 0)
            EQUAL(EINTR, errno);
        EQUAL(1, got);
    }
};

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const Pipe ready, go, last;
    const std::string outer = host(), outer_setting = scenario::read_file(setting);
    const Things things = Things::make("outside", 5);
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        SYS(::unshare(CLONE_NEWUTS | CLONE_NEWIPC));
        SYS(::sethostname("inner", 5));
        SYS(::setdomainname("abeyance", 8));
        scenario::write_file(setting, "12345");
        const Things own = Things::make("inside", 9);
        const Left left = Left::make();
        const pid_t grandchild = scenario::fork_child(); // in the same ones
        if (grandchild == 0) {
            last.wait();
            EQUAL(std::string("inner.abeyance"), host());
            SYS(::sethostname("changed", 7));
            own.check("inside", 9);
            left.check();
            EQUAL(std::string("outside"), std::string(things.memory)); // from before unshare(2)
            ::_exit(0);
        }
        const pid_t other = scenario::fork_child(); // in the ipc namespace only
        if (other == 0) {
            SYS(::unshare(CLONE_NEWUTS));
            SYS(::sethostname("third", 5));
            ready.tell();
            go.wait();
            EQUAL(std::string("third.abeyance"), host());
            EQUAL(namespace_of(::getppid(), "ipc"), namespace_of(::getpid(), "ipc"));
            CHECK(namespace_of(::getppid(), "uts") != namespace_of(::getpid(), "uts"));
            EQUAL(std::string("12345\n"), scenario::read_file(setting));
            ::_exit(0);
        }
        EQUAL(0, scenario::exit_status(other));
        last.tell();
        EQUAL(0, scenario::exit_status(grandchild));
        EQUAL(std::string("changed.abeyance"), host());
        ::_exit(0);
    }
    ready.wait();
    const std::string uts = "/proc/" + std::to_string(child) + "/ns/uts";
    const int file = SYS(::open(uts.c_str(), O_RDONLY | O_CLOEXEC));
    scenario::ready();
    scenario::wait();

    EQUAL(outer, host());
    EQUAL(outer_setting, scenario::read_file(setting));
    EQUAL(namespace_of(child, "uts"), inode_of(file));
    CHECK(namespace_of(child, "ipc") != namespace_of(::getpid(), "ipc"));
    things.check("outside", 5);
    go.tell();
    EQUAL(0, scenario::exit_status(child));
    SYS(::setns(file, CLONE_NEWUTS));
    EQUAL(std::string("changed.abeyance"), host());
    scenario::pass();
}
