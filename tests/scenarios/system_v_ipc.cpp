// SPDX-License-Identifier: LGPL-2.1-or-later
// System V semaphores and message queues: identifiers, keys, owners, values, messages, who used them last, and a task
// that waits for one.
#include "scenario.h"

#include <array>
#include <cstring>

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>

namespace {

constexpr key_t set_key = 0x41425345, queue_key = 0x41425155;
constexpr size_t large = 8000;

struct Message {
    long type;
    std::array<char, large> text;
};

void change(int set, unsigned short number, short by) {
    sembuf operation = {number, by, 0};
    while (::semop(set, &operation, 1) < 0)
        EQUAL(EINTR, errno);
}

void send(int queue, long type, const std::string &text) {
    Message message = {type, {}};
    std::memcpy(message.text.data(), text.data(), text.size());
    SYS(::msgsnd(queue, &message, text.size(), 0));
}

std::string receive(int queue, long type) {
    Message message = {};
    const ssize_t size = SYS(::msgrcv(queue, &message, large, type, IPC_NOWAIT));
    return {message.text.data(), static_cast<size_t>(size)};
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int set = SYS(::semget(set_key, 3, IPC_CREAT | IPC_EXCL | 0620));
    std::array<unsigned short, 3> values = {7, 0, 1};
    SYS(::semctl(set, 0, SETALL, values.data()));
    semid_ds owner = {};
    SYS(::semctl(set, 0, IPC_STAT, &owner));
    owner.sem_perm.uid = 12;
    owner.sem_perm.gid = 34;
    SYS(::semctl(set, 0, IPC_SET, &owner));
    change(set, 0, -2);
    const int queue = SYS(::msgget(queue_key, IPC_CREAT | IPC_EXCL | 0604));
    const int empty = SYS(::msgget(IPC_PRIVATE, 0600));
    msqid_ds limits = {};
    SYS(::msgctl(queue, IPC_STAT, &limits));
    limits.msg_qbytes = 12000;
    SYS(::msgctl(queue, IPC_SET, &limits));
    send(queue, 5, "first");
    send(queue, 6, std::string(large, 'l'));
    send(queue, 5, "");
    send(empty, 1, "gone");

    const pid_t child = scenario::fork_child();
    if (child == 0) {
        EQUAL(std::string("gone"), receive(empty, 0));
        change(set, 2, -1);
        change(set, 1, -1); // waits until the parent gives it
        send(queue, 9, "woken");
        ::_exit(0);
    }
    while (::semctl(set, 1, GETNCNT) == 0)
        ::usleep(10000);
    scenario::ready();
    scenario::wait();

    EQUAL(set, ::semget(set_key, 3, 0));
    EQUAL(queue, ::msgget(queue_key, 0));
    SYS(::semctl(set, 0, IPC_STAT, &owner));
    EQUAL(12, owner.sem_perm.uid);
    EQUAL(34, owner.sem_perm.gid);
    EQUAL(::getuid(), owner.sem_perm.cuid);
    EQUAL(0620, owner.sem_perm.mode & 0777);
    EQUAL(5, ::semctl(set, 0, GETVAL));
    EQUAL(0, ::semctl(set, 1, GETVAL));
    EQUAL(0, ::semctl(set, 2, GETVAL));
    EQUAL(::getpid(), ::semctl(set, 0, GETPID));
    EQUAL(child, ::semctl(set, 2, GETPID));
    SYS(::msgctl(queue, IPC_STAT, &limits));
    EQUAL(3, limits.msg_qnum);
    EQUAL(12000, limits.msg_qbytes);
    EQUAL(0604, limits.msg_perm.mode & 0777);
    EQUAL(::getpid(), limits.msg_lspid);
    EQUAL(std::string("first"), receive(queue, 5));
    EQUAL(std::string(""), receive(queue, 5));
    EQUAL(std::string(large, 'l'), receive(queue, 0));
    SYS(::msgctl(empty, IPC_STAT, &limits));
    EQUAL(0, limits.msg_qnum);
    EQUAL(child, limits.msg_lrpid);
    EQUAL(::getpid(), limits.msg_lspid);
    change(set, 1, 1);
    EQUAL(0, scenario::exit_status(child));
    EQUAL(std::string("woken"), receive(queue, 0));
    SYS(::semctl(set, 0, IPC_RMID));
    SYS(::msgctl(queue, IPC_RMID, nullptr));
    SYS(::msgctl(empty, IPC_RMID, nullptr));
    scenario::pass();
}
