// SPDX-License-Identifier: LGPL-2.1-or-later
// Unusual ways of having a file open: symbolic links, O_DIRECT, a directory that was read halfway, write-only, renamed
// directories.
#include "scenario.h"

#include <set>
#include <string>
#include <vector>

#include <dirent.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace {

struct DirectoryEntry { // getdents64(2)
    unsigned long long inode;
    long long offset;
    unsigned short length;
    unsigned char type;
    char name[1];
};

// Up to `most` bytes of further entries.
void read_names(int fd, std::set<std::string> &names, size_t most) {
    alignas(8) char buffer[4096];
    const long got = SYS(::syscall(SYS_getdents64, fd, buffer, most));
    for (long at = 0; at < got;) {
        const auto *entry = reinterpret_cast<const DirectoryEntry *>(buffer + at);
        EQUAL(true, names.insert(static_cast<const char *>(entry->name)).second);
        at += entry->length;
    }
}

std::string target(int link) {
    char text[100] = {};
    SYS(::readlinkat(link, "", text, sizeof text - 1));
    return text;
}

std::string path_of(int fd) {
    char text[4096] = {};
    SYS(::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text, sizeof text - 1));
    return text;
}

int mappings_of(const std::string &shown) {
    std::ifstream in("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(in, line);)
        count += line.ends_with(" " + shown) ? 1 : 0;
    return count;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string link = scenario::path("link"), directory = scenario::path("many"),
                      direct = scenario::path("direct");
    SYS(::symlink("to/nowhere", link.c_str()));
    const int of_link = SYS(::open(link.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));

    const std::string lost = scenario::path("lost");
    SYS(::symlink("to/what was", lost.c_str()));
    SYS(::lchown(lost.c_str(), 1234, 1235));
    const timespec times[2] = {{1000000000, 5}, {1100000000, 7000}};
    SYS(::utimensat(AT_FDCWD, lost.c_str(), times, AT_SYMLINK_NOFOLLOW));
    const int of_lost = SYS(::open(lost.c_str(), O_PATH | O_NOFOLLOW));
    SYS(::unlink(lost.c_str()));
    const std::string shown = path_of(of_lost);

    SYS(::mkdir(directory.c_str(), 0700));
    for (int i = 0; i < 60; ++i)
        scenario::write_file(directory + "/a file of some length " + std::to_string(i), "");
    const int half_read = SYS(::open(directory.c_str(), O_RDONLY | O_DIRECTORY));
    std::set<std::string> names;
    read_names(half_read, names, 512);
    const size_t before = names.size();
    CHECK(before > 0 && before < 60);

    scenario::write_file(direct, std::string(8192, 'd'));
    const int straight = SYS(::open(direct.c_str(), O_RDWR | O_DIRECT));
    const int quiet = SYS(::open(direct.c_str(), O_RDONLY | O_NOATIME));
    const int blind = SYS(::open(direct.c_str(), O_WRONLY | O_DSYNC));
    SYS(::lseek(blind, 8190, SEEK_SET));
    SYS(::lseek(straight, 4096, SEEK_SET));

    std::vector<int> by_name;
    std::vector<std::string> by_name_shown;
    scenario::write_file(scenario::path("first name"), "one file");
    for (const char *name : {"second name", "third name", "lost name"})
        SYS(::link(scenario::path("first name").c_str(), scenario::path(name).c_str()));
    for (const char *name : {"first name", "second name", "third name", "lost name"})
        by_name.push_back(SYS(::open(scenario::path(name).c_str(), O_RDWR)));
    SYS(::unlink(scenario::path("lost name").c_str()));
    by_name_shown.reserve(by_name.size());
    for (const int fd : by_name)
        by_name_shown.push_back(path_of(fd));
    EQUAL(scenario::path("lost name") + " (deleted)", by_name_shown.back());

    // no name is left of this one; the last belongs to another file by now
    const std::vector<std::string> gone = {"one of three", "two of three", "taken of three"};
    std::vector<int> nameless;
    std::vector<std::string> nameless_shown;
    scenario::write_file(scenario::path(gone[0]), "no name");
    for (size_t i = 1; i < gone.size(); ++i)
        SYS(::link(scenario::path(gone[0]).c_str(), scenario::path(gone[i]).c_str()));
    nameless.reserve(gone.size());
    for (const std::string &name : gone)
        nameless.push_back(SYS(::open(scenario::path(name).c_str(), O_RDWR)));
    for (const std::string &name : gone)
        SYS(::unlink(scenario::path(name).c_str()));
    scenario::write_file(scenario::path(gone[2]), "another's");
    for (size_t i = 0; i < gone.size(); ++i) {
        nameless_shown.push_back(path_of(nameless[i]));
        EQUAL(scenario::path(gone[i]) + " (deleted)", nameless_shown.back());
    }
    // mapped by two names, without a descriptor
    std::vector<char *> pages;
    scenario::write_file(scenario::path("map one"), "mapped");
    SYS(::link(scenario::path("map one").c_str(), scenario::path("map two").c_str()));
    for (const char *name : {"map one", "map two"}) {
        const int fd = SYS(::open(scenario::path(name).c_str(), O_RDWR));
        pages.push_back(static_cast<char *>(SYS(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))));
        SYS(::close(fd));
    }
    for (const char *name : {"map one", "map two"}) {
        SYS(::unlink(scenario::path(name).c_str()));
        EQUAL(1, mappings_of(scenario::path(name) + " (deleted)"));
    }

    SYS(::mkdir(scenario::path("old").c_str(), 0700));
    const int moved = SYS(::open(scenario::path("old").c_str(), O_PATH | O_DIRECTORY));
    SYS(::rename(scenario::path("old").c_str(), scenario::path("moved").c_str()));
    scenario::ready();
    scenario::wait();

    EQUAL(std::string("to/nowhere"), target(of_link));
    EQUAL(O_PATH, ::fcntl(of_link, F_GETFL) & O_PATH);
    EQUAL(std::string("to/what was"), target(of_lost));
    EQUAL(shown, path_of(of_lost));
    struct stat of_it = {};
    SYS(::fstat(of_lost, &of_it));
    CHECK(S_ISLNK(of_it.st_mode));
    EQUAL(0, of_it.st_nlink);
    EQUAL(1234, of_it.st_uid);
    EQUAL(1235, of_it.st_gid);
    EQUAL(times[1].tv_sec, of_it.st_mtim.tv_sec);
    EQUAL(FD_CLOEXEC, ::fcntl(of_link, F_GETFD));
    while (true) {
        const size_t so_far = names.size();
        read_names(half_read, names, 4096);
        if (names.size() == so_far)
            break;
    }
    EQUAL(62, names.size()); // each once

    EQUAL(O_DIRECT, ::fcntl(straight, F_GETFL) & O_DIRECT);
    alignas(4096) static char page[4096];
    EQUAL(4096, ::read(straight, page, sizeof page));
    EQUAL('d', page[4095]);
    EQUAL(O_NOATIME, ::fcntl(quiet, F_GETFL) & O_NOATIME);
    EQUAL(O_WRONLY | O_DSYNC, ::fcntl(blind, F_GETFL) & (O_ACCMODE | O_SYNC));
    EQUAL(4, ::write(blind, "tail", 4));
    EQUAL(8194, scenario::read_file(direct).size());

    struct stat first = {};
    SYS(::fstat(by_name.front(), &first));
    EQUAL(3, first.st_nlink);
    for (size_t i = 0; i < by_name.size(); ++i) {
        EQUAL(by_name_shown[i], path_of(by_name[i]));
        struct stat one = {};
        SYS(::fstat(by_name[i], &one));
        EQUAL(first.st_ino, one.st_ino);
        EQUAL(O_RDWR, ::fcntl(by_name[i], F_GETFL) & O_ACCMODE);
    }
    EQUAL(-1, ::access(scenario::path("lost name").c_str(), F_OK));

    struct stat of_nameless = {};
    SYS(::fstat(nameless[0], &of_nameless));
    EQUAL(0, of_nameless.st_nlink);
    for (size_t i = 0; i < nameless.size(); ++i) {
        EQUAL(nameless_shown[i], path_of(nameless[i]));
        struct stat one = {};
        SYS(::fstat(nameless[i], &one));
        EQUAL(of_nameless.st_ino, one.st_ino);
        char text[10] = {};
        EQUAL(7, ::pread(nameless[i], text, sizeof text, 0));
        EQUAL("no name", std::string(text));
    }
    EQUAL(-1, ::access(scenario::path(gone[0]).c_str(), F_OK));
    EQUAL(-1, ::access(scenario::path(gone[1]).c_str(), F_OK));
    EQUAL("another's", scenario::read_file(scenario::path(gone[2])));
    for (const char *name : {"map one", "map two"}) {
        EQUAL(1, mappings_of(scenario::path(name) + " (deleted)"));
        EQUAL(-1, ::access(scenario::path(name).c_str(), F_OK));
    }
    pages[0][0] = 'M';
    EQUAL('M', pages[1][0]);

    scenario::write_file(scenario::path("moved/inside"), "");
    EQUAL(0, ::faccessat(moved, "inside", F_OK, 0));
    scenario::pass();
}
