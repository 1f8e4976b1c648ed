// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes in mount namespaces of their own: new file systems with contents, directories and files mounted once more,
// mounts on top of each other, attributes, propagation, a root of its own with the old one gone; open and mapped
// files, directories and roots there.
#include "scenario.h"

#include <map>
#include <set>
#include <vector>

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

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

void mount(const char *source, const std::string &place, const char *type, unsigned long flags, const char *data) {
    SYS(::mount(source, place.c_str(), type, flags, data));
}

// The mounts without what is new with each: ids, and devices of file systems of memory; groups by their members.
std::string mounts() {
    std::istringstream lines(scenario::read_file("/proc/self/mountinfo"));
    std::map<std::string, std::string> places;
    std::vector<std::vector<std::string>> all;
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        all.emplace_back();
        for (std::string word; words >> word;)
            all.back().push_back(word);
        places[all.back()[0]] = all.back()[4];
    }
    std::multiset<std::string> told;
    std::map<std::string, std::set<std::string>> groups;
    for (const auto &words : all)
        for (size_t i = 6; words[i] != "-"; ++i)
            groups[words[i].substr(words[i].find(':') + 1)].insert(words[4]);
    for (const auto &words : all) {
        std::string text = "on " + places[words[1]] + ":";
        for (size_t i = 3; i < words.size(); ++i) {
            const size_t colon = words[i].find(':');
            if (words[i].starts_with("shared:") || words[i].starts_with("master:")) {
                text += " " + words[i].substr(0, colon);
                for (const std::string &member : groups[words[i].substr(colon + 1)])
                    text += "," + member;
            } else {
                text += " " + words[i];
            }
        }
        told.insert(text + "\n");
    }
    std::string text;
    for (const std::string &line : told)
        text += line;
    return text;
}

std::string described(const std::string &path) {
    struct stat st = {};
    if (::lstat(path.c_str(), &st) != 0)
        return path + ": " + std::strerror(errno);
    std::ostringstream text;
    text << path << " " << std::oct << st.st_mode << std::dec << " " << st.st_uid << ":" << st.st_gid << " "
         << st.st_nlink << " " << (S_ISREG(st.st_mode) ? st.st_size : 0) << " " << st.st_rdev << " "
         << st.st_mtim.tv_sec << "." << st.st_mtim.tv_nsec << "\n";
    return text.str();
}

std::string link_of(const std::string &path) {
    char target[4096] = {};
    const ssize_t size = SYS(::readlink(path.c_str(), target, sizeof target - 1));
    return {target, static_cast<size_t>(size)};
}

// What lies on the tmpfs.
void furnish(const std::string &top) {
    SYS(::mkdir((top + "/directory").c_str(), 0750));
    SYS(::chown((top + "/directory").c_str(), 1001, 1002));
    scenario::write_file(top + "/directory/file", "on a tmpfs of its own");
    SYS(::chmod((top + "/directory/file").c_str(), 0640));
    SYS(::link((top + "/directory/file").c_str(), (top + "/other-name").c_str()));
    SYS(::symlink("directory/file", (top + "/link").c_str()));
    SYS(::mkfifo((top + "/fifo").c_str(), 0604));
    SYS(::mknod((top + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)));
    SYS(::link((top + "/null").c_str(), (top + "/same-null").c_str()));
    SYS(::setxattr((top + "/directory").c_str(), "trusted.abeyance", "value", 5, 0));
    scenario::write_file(top + "/holes", "");
    SYS(::truncate((top + "/holes").c_str(), 100000));
    const timespec times[2] = {{1000000000, 5}, {1100000000, 7}};
    for (const char *name : {"/directory", "/directory/file", "/null", "/link", ""})
        SYS(::utimensat(AT_FDCWD, (top + name).c_str(), times, AT_SYMLINK_NOFOLLOW));
}

std::string furniture(const std::string &top) {
    std::string all;
    for (const char *name :
         {"", "/directory", "/directory/file", "/other-name", "/link", "/fifo", "/null", "/same-null", "/holes"})
        all += described(top + name);
    char value[16] = {};
    all += std::to_string(::getxattr((top + "/directory").c_str(), "trusted.abeyance", value, sizeof value));
    return all + value + scenario::read_file(top + "/directory/file") + link_of(top + "/link");
}

// Its own, and open files in it.
void various(const Pipe &ready, const Pipe &go, const std::string &top) {
    SYS(::unshare(CLONE_NEWNS));
    mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    for (const char *name :
         {"/tmp", "/again", "/ro", "/proc", "/queues", "/pts", "/below", "/shared", "/peer", "/slave"})
        SYS(::mkdir((top + name).c_str(), 0755));
    SYS(::mkdir((top + "/source").c_str(), 0755));
    scenario::write_file(top + "/source/file", "of the session");
    scenario::write_file(top + "/target", "covered");
    mount("mine", top + "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=8m,mode=1770,nr_inodes=500");
    furnish(top + "/tmp");
    mount((top + "/tmp/directory").c_str(), top + "/again", nullptr, MS_BIND, nullptr);
    mount((top + "/source").c_str(), top + "/ro", nullptr, MS_BIND, nullptr);
    mount("none", top + "/ro", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOEXEC | MS_NOATIME, nullptr);
    mount((top + "/source/file").c_str(), top + "/target", nullptr, MS_BIND, nullptr);
    mount("proc", top + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    mount("mqueue", top + "/queues", "mqueue", 0, nullptr);
    mount("devpts", top + "/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620");
    mount("lower", top + "/below", "tmpfs", 0, "size=1m");
    SYS(::mkdir((top + "/below/inner").c_str(), 0700));
    mount("inner", top + "/below/inner", "tmpfs", MS_RDONLY, "size=1m");
    mount((top + "/source").c_str(), top + "/below", nullptr, MS_BIND, nullptr);
    mount("shared", top + "/shared", "tmpfs", 0, "size=1m");
    mount("none", top + "/shared", nullptr, MS_SHARED, nullptr);
    mount((top + "/shared").c_str(), top + "/peer", nullptr, MS_BIND, nullptr);
    mount((top + "/shared").c_str(), top + "/slave", nullptr, MS_BIND, nullptr);
    mount("none", top + "/slave", nullptr, MS_SLAVE, nullptr);
    SYS(::umount2((top + "/below").c_str(), 0)); // what was covered would be refused
    mount((top + "/source").c_str(), top + "/source", nullptr, MS_BIND, nullptr);
    mount("none", top + "/source", nullptr, MS_UNBINDABLE, nullptr);

    SYS(::chdir((top + "/tmp/directory").c_str()));
    const int file = SYS(::open((top + "/tmp/other-name").c_str(), O_RDWR | O_CLOEXEC));
    SYS(::lseek(file, 5, SEEK_SET));
    const int bound = SYS(::open((top + "/ro/file").c_str(), O_RDONLY | O_CLOEXEC));
    const int again = SYS(::open((top + "/again").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const int deleted = SYS(::open((top + "/shared/deleted").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    SYS(::write(deleted, "without a name", 14));
    SYS(::unlink((top + "/shared/deleted").c_str()));
    auto *mapped = static_cast<char *>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    CHECK(mapped != MAP_FAILED);
    const std::string all = mounts(), before = furniture(top + "/tmp");
    ready.tell();
    go.wait();

    EQUAL(all, mounts());
    EQUAL(before, furniture(top + "/tmp"));
    EQUAL(top + "/tmp/directory", link_of("/proc/self/cwd"));
    EQUAL(std::string("on a tmpfs of its own"), scenario::read_file("file"));
    EQUAL(5, ::lseek(file, 0, SEEK_CUR));
    EQUAL(top + "/tmp/other-name", link_of("/proc/self/fd/" + std::to_string(file)));
    EQUAL(top + "/ro/file", link_of("/proc/self/fd/" + std::to_string(bound)));
    EQUAL(top + "/again", link_of("/proc/self/fd/" + std::to_string(again)));
    char text[32] = {};
    EQUAL(14, ::pread(deleted, text, sizeof text, 0));
    EQUAL(std::string("without a name"), std::string(text));
    mapped[0] = 'O';
    EQUAL(std::string("On a tmpfs of its own"), scenario::read_file(top + "/again/file"));
    EQUAL(-1, ::open((top + "/ro/new").c_str(), O_WRONLY | O_CREAT, 0600));
    EQUAL(EROFS, errno);
    EQUAL(std::string("of the session"), scenario::read_file(top + "/target"));
    // propagation goes on
    SYS(::mkdir((top + "/shared/new").c_str(), 0700));
    mount("new", top + "/peer/new", "tmpfs", 0, "size=1m");
    scenario::write_file(top + "/shared/new/seen", "");
    SYS(::access((top + "/slave/new/seen").c_str(), F_OK));
    ::close(bound);
    SYS(::umount2((top + "/ro").c_str(), 0));
    EQUAL(-1, ::access((top + "/ro/file").c_str(), F_OK));
}

// A root of its own, as sandboxes make it: a tmpfs with directories of the session, the old root gone.
void pivoted(const Pipe &ready, const Pipe &go, const std::string &top) {
    SYS(::unshare(CLONE_NEWNS));
    mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    const std::string root = top + "/root";
    SYS(::mkdir(root.c_str(), 0755));
    mount("tmpfs", root, "tmpfs", MS_NOSUID, "mode=755");
    for (const char *name : {"/usr", "/lib", "/lib64", "/proc", "/dev", "/new", "/old"})
        SYS(::mkdir((root + name).c_str(), 0755));
    for (const std::string name : {"/usr", "/lib", "/lib64"}) {
        mount(name.c_str(), root + name, nullptr, MS_BIND | MS_REC, nullptr);
        mount("none", root + name, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr);
    }
    mount("proc", root + "/proc", "proc", 0, nullptr);
    mount("tmpfs", root + "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k");
    scenario::write_file(root + "/dev/null", "");
    mount("/dev/null", root + "/dev/null", nullptr, MS_BIND, nullptr);
    SYS(::chdir(root.c_str()));
    SYS(::syscall(SYS_pivot_root, ".", "old"));
    SYS(::umount2("/old", MNT_DETACH));
    SYS(::chdir("/new"));
    const int null = SYS(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const pid_t inner = SYS(::fork()); // and one that has changed its root once more
    if (inner == 0) {
        SYS(::chroot("/usr"));
        SYS(::chdir("/lib"));
        go.wait();
        CHECK(::access("/bin/env", F_OK) == 0);
        CHECK(::access("/usr", F_OK) != 0);
        ::_exit(::access("../bin", F_OK));
    }
    const std::string all = mounts();
    ready.tell();
    go.wait();
    EQUAL(all, mounts());
    EQUAL(std::string("/new"), link_of("/proc/self/cwd"));
    EQUAL(3, ::write(null, "abc", 3));
    EQUAL(std::string("/dev/null"), link_of("/proc/self/fd/" + std::to_string(null)));
    EQUAL(-1, ::open("/usr/new", O_WRONLY | O_CREAT, 0600));
    EQUAL(EROFS, errno);
    EQUAL(-1, ::access(top.c_str(), F_OK));
    go.tell();
    EQUAL(0, scenario::exit_status(inner));
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    static const Pipe go, pivoted_go;
    const Pipe ready, pivoted_ready;
    const std::string top = scenario::directory;
    const pid_t first = scenario::fork_child();
    if (first == 0) {
        various(ready, go, top);
        ::_exit(0);
    }
    ready.wait();
    const pid_t second = scenario::fork_child();
    if (second == 0) {
        pivoted(pivoted_ready, pivoted_go, top);
        ::_exit(0);
    }
    pivoted_ready.wait();
    const int file = SYS(::open(("/proc/" + std::to_string(first) + "/ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
    const std::string own = mounts();
    scenario::ready();
    scenario::wait();

    EQUAL(own, mounts()); // nothing of theirs is here
    EQUAL(link_of("/proc/" + std::to_string(first) + "/ns/mnt"), link_of("/proc/self/fd/" + std::to_string(file)));
    go.tell();
    EQUAL(0, scenario::exit_status(first));
    pivoted_go.tell();
    pivoted_go.tell();
    EQUAL(0, scenario::exit_status(second));
    scenario::pass();
}
