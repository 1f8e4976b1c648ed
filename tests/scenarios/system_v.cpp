// SPDX-License-Identifier: LGPL-2.1-or-later
// System V shared memory: attached by several, by identifier and key, marked for removal; POSIX message queues.
#include "scenario.h"

#include <utility>

#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/shm.h>

namespace {

constexpr size_t size = 3 * 4096 + 100;
constexpr key_t key = 0x41424559;

char *attach(int id, int flags) {
    void *at = ::shmat(id, nullptr, flags);
    CHECK(at != reinterpret_cast<void *>(-1));
    return static_cast<char *>(at);
}

shmid_ds state(int id) {
    shmid_ds segment = {};
    SYS(::shmctl(id, IPC_STAT, &segment));
    return segment;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int named = SYS(::shmget(key, size, IPC_CREAT | IPC_EXCL | 0640));
    const int unnamed = SYS(::shmget(IPC_PRIVATE, 4096, 0600));
    const int removed = SYS(::shmget(IPC_PRIVATE, 8192, 0600));
    shmid_ds owner = state(named);
    owner.shm_perm.uid = 12;
    owner.shm_perm.gid = 34;
    SYS(::shmctl(named, IPC_SET, &owner));
    char *one = attach(named, 0), *reader = attach(named, SHM_RDONLY);
    char *other = attach(unnamed, 0), *last = attach(removed, 0);
    SYS(::shmctl(removed, IPC_RMID, nullptr));
    scenario::put_text(one + size - 6, "begin");
    scenario::put_text(other, "other");
    scenario::put_text(last, "last");
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        while (last[1] != '!')
            ::usleep(10000);
        scenario::put_text(one, "child");
        ::_exit(std::strcmp(other, "other") == 0 ? 0 : 1);
    }

    mq_attr attributes = {};
    attributes.mq_maxmsg = 7;
    attributes.mq_msgsize = 123;
    const mqd_t queue = SYS(::mq_open("/abeyance-scenario", O_RDWR | O_CREAT | O_EXCL, 0620, &attributes));
    SYS(::fchmod(queue, 0620));
    const mqd_t sender = SYS(::mq_open("/abeyance-scenario", O_WRONLY | O_NONBLOCK));
    const mqd_t nameless = SYS(::mq_open("/abeyance-nameless", O_RDWR | O_CREAT | O_EXCL, 0600, &attributes));
    SYS(::mq_unlink("/abeyance-nameless"));
    EQUAL(0, ::mq_send(queue, "low", 3, 1));
    EQUAL(0, ::mq_send(queue, "high", 4, 9));
    EQUAL(0, ::mq_send(queue, "low again", 9, 1));
    EQUAL(0, ::mq_send(nameless, "", 0, 0));
    scenario::ready();
    scenario::wait();

    EQUAL(std::string("begin"), std::string(one + size - 6));
    EQUAL(std::string("begin"), std::string(reader + size - 6));
    EQUAL(named, ::shmget(key, size, 0));
    shmid_ds now = state(named);
    EQUAL(size, now.shm_segsz);
    EQUAL(12, now.shm_perm.uid);
    EQUAL(34, now.shm_perm.gid);
    EQUAL(0640, now.shm_perm.mode & 0777);
    EQUAL(4, now.shm_nattch);
    EQUAL(2, state(unnamed).shm_nattch);
    EQUAL(0, state(unnamed).shm_perm.mode & SHM_DEST);
    EQUAL(SHM_DEST, state(removed).shm_perm.mode & SHM_DEST);
    last[1] = '!';
    EQUAL(0, scenario::exit_status(child));
    EQUAL(std::string("child"), std::string(reader));
    EQUAL(2, state(named).shm_nattch);
    char *again = attach(unnamed, 0);
    EQUAL(std::string("other"), std::string(again));
    for (char *at : {one, reader, other, again, last})
        EQUAL(0, ::shmdt(at));
    EQUAL(-1, ::shmget(IPC_PRIVATE, 0, 0));
    shmid_ds gone = {};
    EQUAL(-1, ::shmctl(removed, IPC_STAT, &gone));
    SYS(::shmctl(named, IPC_RMID, nullptr));
    SYS(::shmctl(unnamed, IPC_RMID, nullptr));

    SYS(::mq_getattr(queue, &attributes));
    EQUAL(7, attributes.mq_maxmsg);
    EQUAL(123, attributes.mq_msgsize);
    EQUAL(0, attributes.mq_flags);
    SYS(::mq_getattr(sender, &attributes));
    EQUAL(O_NONBLOCK, attributes.mq_flags);
    char message[123];
    unsigned priority = 0;
    for (const auto &[text, wanted] : {std::pair{"high", 9}, std::pair{"low", 1}, std::pair{"low again", 1}}) {
        const ssize_t size = SYS(::mq_receive(queue, message, sizeof message, &priority));
        EQUAL(std::string(text), std::string(message, static_cast<size_t>(size)));
        EQUAL(wanted, priority);
    }
    EQUAL(0, ::mq_receive(nameless, message, sizeof message, &priority));
    EQUAL(0, ::mq_send(sender, "hello", 5, 3));
    EQUAL(5, ::mq_receive(queue, message, sizeof message, &priority));
    EQUAL(3, priority);
    EQUAL(0, ::mq_send(nameless, "there", 5, 1));
    EQUAL(5, ::mq_receive(nameless, message, sizeof message, &priority));
    EQUAL(-1, ::mq_unlink("/abeyance-nameless"));
    struct stat st = {};
    SYS(::fstat(queue, &st));
    EQUAL(0620, st.st_mode & 0777);
    SYS(::mq_unlink("/abeyance-scenario"));
    scenario::pass();
}
