// SPDX-License-Identifier: LGPL-2.1-or-later
// Files and directories whose paths are longer than PATH_MAX: by relative names a program comes to them, and to the
// links of /proc the kernel does not tell what they are called (ENAMETOOLONG); in maps it does.
#include "scenario.h"

#include <cstdint>
#include <vector>

#include <sys/mman.h>

namespace {

struct Held {
    std::string name, text, shown;
    int fd = -1;
    char *mapped = nullptr;
};

int make(int directory, const std::string &name, const std::string &text, int flags = O_RDWR) {
    const int fd = SYS(::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0640));
    EQUAL(text.size(), ::write(fd, text.data(), text.size()));
    SYS(::close(fd));
    return SYS(::openat(directory, name.c_str(), flags));
}

char *map(int fd) { return static_cast<char *>(SYS(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0))); }

// The path in maps, as it is there.
std::string shown_at(const char *address) {
    char wanted[20];
    std::snprintf(wanted, sizeof wanted, "%lx-", static_cast<unsigned long>(reinterpret_cast<uintptr_t>(address)));
    std::ifstream in("/proc/self/maps");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(wanted))
            return line.substr(std::min(line.find('/'), line.size()));
    return "(none)";
}

void nobody_tells(const std::string &link) {
    char text[8192];
    EQUAL(-1, ::readlink(("/proc/self/" + link).c_str(), text, sizeof text));
    EQUAL(ENAMETOOLONG, errno);
}

bool same_inode(int a, int b) {
    struct stat first = {}, second = {};
    SYS(::fstat(a, &first));
    SYS(::fstat(b, &second));
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

int go_down() {
    int here = SYS(::open(scenario::directory.c_str(), O_RDONLY | O_DIRECTORY));
    for (int i = 0; i < 40; ++i) {
        const std::string name(120, static_cast<char>('A' + i % 26));
        if (::mkdirat(here, name.c_str(), 0755) != 0)
            EQUAL(EEXIST, errno);
        const int next = SYS(::openat(here, name.c_str(), O_RDONLY | O_DIRECTORY));
        SYS(::close(here));
        here = next;
    }
    return here;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int deepest = go_down();
    nobody_tells("fd/" + std::to_string(deepest));

    std::vector<Held> all;
    for (const auto &[name, flags] :
         {std::pair("named", O_RDWR), std::pair("deleted", O_RDWR), std::pair("taken", O_RDWR),
          std::pair("two\nlines", O_RDWR), std::pair("two\nlines, deleted", O_RDWR)}) {
        Held one{.name = name, .text = std::string("this is ") + name};
        one.fd = make(deepest, name, one.text, flags);
        one.mapped = map(one.fd);
        all.push_back(std::move(one));
    }
    for (const char *name : {"deleted", "taken", "two\nlines, deleted"})
        SYS(::unlinkat(deepest, name, 0));
    SYS(::close(make(deepest, "taken", "another's")));
    for (Held &one : all) {
        one.shown = shown_at(one.mapped);
        CHECK(one.shown.size() > 4840);
        SYS(::lseek(one.fd, 3, SEEK_SET));
    }
    CHECK(all[1].shown.ends_with("/deleted (deleted)"));
    // held in one way only
    const int written = make(deepest, "written", "by those who cannot read", O_WRONLY | O_APPEND);
    const int path_only = make(deepest, "path", "only looked at", O_PATH);
    const int of_mapping = make(deepest, "mapped", "without a descriptor");
    char *const mapping = map(of_mapping);
    SYS(::close(of_mapping));
    const std::string mapping_shown = shown_at(mapping);
    SYS(::fchdir(deepest));
    nobody_tells("cwd");

    scenario::ready();
    scenario::wait();

    nobody_tells("cwd");
    nobody_tells("fd/" + std::to_string(deepest));
    const int again = go_down();
    CHECK(same_inode(again, deepest));
    CHECK(same_inode(again, SYS(::open(".", O_PATH | O_DIRECTORY))));
    for (const Held &one : all) {
        nobody_tells("fd/" + std::to_string(one.fd));
        EQUAL(one.shown, shown_at(one.mapped));
        EQUAL(3, ::lseek(one.fd, 0, SEEK_CUR));
        char text[100] = {};
        EQUAL(one.text.size(), ::pread(one.fd, text, sizeof text, 0));
        EQUAL(one.text, std::string(text));
        one.mapped[0] = 'T';
        EQUAL(1, ::pread(one.fd, text, 1, 0));
        EQUAL('T', text[0]);
        struct stat about = {};
        SYS(::fstat(one.fd, &about));
        EQUAL(one.shown.ends_with(" (deleted)") ? 0 : 1, about.st_nlink);
    }
    CHECK(same_inode(all[0].fd, SYS(::openat(again, "named", O_RDONLY))));
    CHECK(same_inode(all[3].fd, SYS(::openat(again, "two\nlines", O_RDONLY))));
    EQUAL(-1, ::faccessat(again, "deleted", F_OK, 0));
    char text[100] = {};
    EQUAL(9, ::read(SYS(::openat(again, "taken", O_RDONLY)), text, sizeof text));
    EQUAL("another's", std::string(text));
    EQUAL(1, ::write(written, "!", 1));
    CHECK(same_inode(written, SYS(::openat(again, "written", O_RDONLY))));
    CHECK(same_inode(path_only, SYS(::openat(again, "path", O_RDONLY))));
    EQUAL(mapping_shown, shown_at(mapping));
    EQUAL("without", std::string(mapping, 7));
    scenario::pass();
}
