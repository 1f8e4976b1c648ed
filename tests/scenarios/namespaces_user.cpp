// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes in user namespaces of their own: id maps, capabilities, ids that have no name inside, one within another,
// and other namespaces that belong to them.
#include "scenario.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

namespace {

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

std::string proc(pid_t pid, const std::string &name) { return "/proc/" + std::to_string(pid) + "/" + name; }

// An own descriptor of a namespace file, as ioctl_ns(2) tells it: inode number.
ino_t number_of(int fd) {
    struct stat st = {};
    SYS(::fstat(fd, &st));
    ::close(fd);
    return st.st_ino;
}

ino_t namespace_of(pid_t pid, const std::string &name) {
    return number_of(SYS(::open(proc(pid, "ns/" + name).c_str(), O_RDONLY | O_CLOEXEC)));
}

ino_t related(pid_t pid, const std::string &name, unsigned long request) {
    const int file = SYS(::open(proc(pid, "ns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    const ino_t number = number_of(SYS(::ioctl(file, request)));
    ::close(file);
    return number;
}

uid_t creator_of(pid_t pid) {
    const int file = SYS(::open(proc(pid, "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
    uid_t uid = 77777;
    SYS(::ioctl(file, NS_GET_OWNER_UID, &uid));
    ::close(file);
    return uid;
}

// What the process itself sees.
std::string seen() {
    std::string text;
    for (const char *name : {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"})
        text += std::string(name) + scenario::status_line(name) + "; ";
    for (const char *name : {"uid_map", "gid_map", "setgroups"})
        text += scenario::read_file(std::string("/proc/self/") + name) + "; ";
    return text + std::to_string(::prctl(PR_GET_SECUREBITS)) + " " + std::to_string(::prctl(PR_GET_DUMPABLE));
}

// A child that unshares as user `uid` and waits for its maps; then lives `life`, is ready, waits, and `life` again.
template <class Life> pid_t inhabitant(uid_t uid, int flags, const char *uids, const char *gids, bool deny, Life life) {
    const Pipe made, mapped, ready;
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        if (uid != 0) {
            SYS(::setgroups(0, nullptr));
            SYS(::setresgid(uid, uid, uid));
            SYS(::setresuid(uid, uid, uid));
        }
        SYS(::unshare(CLONE_NEWUSER | flags));
        SYS(::prctl(PR_SET_DUMPABLE, 1));
        made.tell();
        mapped.wait();
        life(ready);
        ::_exit(0);
    }
    made.wait();
    if (deny)
        scenario::write_file(proc(child, "setgroups"), "deny");
    if (*uids != 0)
        scenario::write_file(proc(child, "uid_map"), uids);
    if (*gids != 0)
        scenario::write_file(proc(child, "gid_map"), gids);
    mapped.tell();
    ready.wait();
    return child;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    static const Pipe go, inner_go;
    // as `unshare -Ur --uts` does, by an ordinary user
    const pid_t mapped = inhabitant(1000, CLONE_NEWUTS, "0 1000 1\n", "0 1000 1\n", true, [](const Pipe &ready) {
        SYS(::sethostname("mine", 4));
        EQUAL(0, ::getuid());
        const std::string before = seen();
        ready.tell();
        go.wait();
        EQUAL(before, seen());
        utsname names = {};
        SYS(::uname(&names));
        EQUAL(std::string("mine"), std::string(names.nodename));
        SYS(::sethostname("still", 5)); // it is its own
        EQUAL(-1, ::setgroups(0, nullptr));
    });
    // nobody has a name there
    const pid_t unmapped = inhabitant(1001, 0, "", "", false, [](const Pipe &ready) {
        EQUAL(65534, ::getuid());
        const std::string before = seen();
        ready.tell();
        go.wait();
        EQUAL(before, seen());
        EQUAL(65534, ::getgid());
    });
    // several ranges, other ids, fewer capabilities, and another namespace within
    const pid_t ranged = inhabitant(
        0, CLONE_NEWIPC, "0 0 1\n1000 100000 500\n", "0 0 1\n2000 200000 500\n", false, [](const Pipe &ready) {
            const gid_t groups[] = {2005, 2006};
            SYS(::setgroups(2, groups));
            SYS(::prctl(PR_SET_SECUREBITS, 1 << 4 /* SECBIT_KEEP_CAPS */));
            SYS(::prctl(PR_CAPBSET_DROP, CAP_SYS_TIME));
            const pid_t inner = inhabitant(0, 0, "5 1001 3\n", "", false, [](const Pipe &inside) {
                const std::string before = seen();
                inside.tell();
                inner_go.wait();
                EQUAL(before, seen());
                SYS(::setresuid(6, 6, 6));
            });
            SYS(::setresgid(2001, 2002, 2003));
            SYS(::setresuid(1001, 1002, 0));
            __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
            const __user_cap_data_struct data[2] = {{1U << CAP_SYS_PTRACE, 1U << CAP_SETUID | 1U << CAP_SYS_PTRACE, 0},
                                                    {0, 0}};
            SYS(::syscall(SYS_capset, &header, data));
            SYS(::prctl(PR_SET_DUMPABLE, 1));
            const std::string before = seen();
            ready.tell();
            go.wait();
            EQUAL(before, seen());
            EQUAL(namespace_of(::getpid(), "user"), related(inner, "user", NS_GET_PARENT));
            inner_go.tell();
            EQUAL(0, scenario::exit_status(inner));
            SYS(::setresuid(1001, 0, 0));
        });
    const int file = SYS(::open(proc(mapped, "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
    scenario::ready();
    scenario::wait();

    EQUAL(1000, creator_of(mapped));
    EQUAL(1001, creator_of(unmapped));
    EQUAL(0, creator_of(ranged));
    EQUAL(namespace_of(mapped, "user"), related(mapped, "uts", NS_GET_USERNS));
    EQUAL(namespace_of(ranged, "user"), related(ranged, "ipc", NS_GET_USERNS));
    EQUAL(namespace_of(::getpid(), "user"), related(unmapped, "user", NS_GET_PARENT));
    EQUAL(namespace_of(mapped, "user"), number_of(file));
    for (int i = 0; i < 3; ++i)
        go.tell();
    EQUAL(0, scenario::exit_status(mapped));
    EQUAL(0, scenario::exit_status(unmapped));
    EQUAL(0, scenario::exit_status(ranged));
    scenario::pass();
}
