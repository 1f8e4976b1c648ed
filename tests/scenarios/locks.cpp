// SPDX-License-Identifier: LGPL-2.1-or-later
// flock, open file description locks, POSIX locks and leases: held, by whom they were, and by nobody else.
#include "scenario.h"

#include <sys/file.h>

namespace {

// The line of /proc/locks for a file, from its kind on: "FLOCK  ADVISORY  WRITE 1234 ...", without device and inode.
std::string lock_on(const std::string &path) {
    struct stat st = {};
    SYS(::stat(path.c_str(), &st));
    std::istringstream lines(scenario::read_file("/proc/locks"));
    const std::string inode = ":" + std::to_string(st.st_ino) + " ";
    for (std::string line; std::getline(lines, line);)
        if (const auto at = line.find(inode); at != std::string::npos && line.find("->") == std::string::npos) {
            std::istringstream words(line);
            std::string number, kind, type, mode, pid, place, start, end;
            words >> number >> kind >> type >> mode >> pid >> place >> start >> end;
            for (const auto &word : {mode, pid, start, end})
                kind.append(" ").append(word);
            return kind;
        }
    return "";
}

volatile sig_atomic_t asked = 0;

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string whole = scenario::path("whole");
    const std::string range = scenario::path("range");
    const std::string description = scenario::path("description");
    const std::string leased = scenario::path("leased");
    const std::string broken = scenario::path("broken");
    for (const auto &name : {whole, range, description, leased, broken})
        scenario::write_file(name, "0123456789");
    const int one = SYS(::open(whole.c_str(), O_RDWR));
    int ends[2];
    SYS(::pipe(ends));
    // the lock belongs to an open file that both have; the child took it
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        SYS(::flock(one, LOCK_EX));
        const int two = SYS(::open(range.c_str(), O_RDWR));
        struct flock part = {};
        part.l_type = F_WRLCK;
        part.l_start = 2;
        part.l_len = 3;
        SYS(::fcntl(two, F_SETLK, &part));
        EQUAL(1, ::write(ends[1], "r", 1));
        scenario::wait();
        ::_exit(5);
    }
    char byte = 0;
    EQUAL(1, ::read(ends[0], &byte, 1));
    const int three = SYS(::open(description.c_str(), O_RDWR));
    struct flock part = {};
    part.l_type = F_RDLCK;
    part.l_start = 4;
    SYS(::fcntl(three, F_OFD_SETLK, &part));
    const int four = SYS(::open(leased.c_str(), O_RDONLY));
    SYS(::fcntl(four, F_SETLEASE, F_RDLCK));
    // a lease that somebody else waits for: its holder has been told already
    SYS(::signal(SIGIO, [](int /*signal*/) { asked = asked + 1; }) == SIG_ERR ? -1 : 0);
    const int five = SYS(::open(broken.c_str(), O_RDONLY));
    SYS(::fcntl(five, F_SETLEASE, F_RDLCK));
    EQUAL(-1, ::open(broken.c_str(), O_WRONLY | O_NONBLOCK));
    EQUAL(EWOULDBLOCK, errno);
    EQUAL(1, asked);
    EQUAL(F_UNLCK, ::fcntl(five, F_GETLEASE));
    const std::string locks[] = {lock_on(whole), lock_on(range), lock_on(description), lock_on(leased)};
    const std::string pid = std::to_string(child);
    EQUAL("FLOCK WRITE " + pid + " 0 EOF", locks[0]);
    EQUAL("POSIX WRITE " + pid + " 2 4", locks[1]);
    scenario::ready();
    scenario::wait();
    EQUAL(locks[0], lock_on(whole));
    EQUAL(locks[1], lock_on(range));
    EQUAL(locks[2], lock_on(description));
    EQUAL(locks[3], lock_on(leased));
    const int other = SYS(::open(whole.c_str(), O_RDWR));
    EQUAL(-1, ::flock(other, LOCK_EX | LOCK_NB));
    EQUAL(F_RDLCK, ::fcntl(four, F_GETLEASE));
    EQUAL(F_UNLCK, ::fcntl(five, F_GETLEASE));
    EQUAL(1, asked);
    SYS(::fcntl(five, F_SETLEASE, F_UNLCK));
    ::close(SYS(::open(broken.c_str(), O_WRONLY | O_NONBLOCK)));
    SYS(::kill(child, SIGTERM));
    EQUAL(5, scenario::exit_status(child));
    EQUAL(-1, ::flock(other, LOCK_EX | LOCK_NB)); // we still have the open file
    EQUAL(std::string(), lock_on(range));
    ::close(one);
    EQUAL(0, ::flock(other, LOCK_EX | LOCK_NB));
    scenario::pass();
}
