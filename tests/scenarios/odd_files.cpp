// SPDX-License-Identifier: LGPL-2.1-or-later
// Files as they are seldom met: odd and long names, deep directories, much apparent size and little data, several
// holders of one inode, hard links, directories that are gone, with all that can be written on a file.
#include "scenario.h"

#include <vector>

#include <sys/mman.h>
#include <sys/xattr.h>

namespace {

constexpr off_t apparent = 100LL << 30; // bytes
constexpr size_t data_size = 1U << 20U;

std::string link_of(const std::string &link) {
    std::vector<char> text(8192);
    const ssize_t size = SYS(::readlink(("/proc/self/" + link).c_str(), text.data(), text.size()));
    return {text.data(), static_cast<size_t>(size)};
}

std::string link_of(int fd) { return link_of("fd/" + std::to_string(fd)); }

// A file with two open files and a mapping on it, whose name is gone.
struct Shared {
    std::string name;
    int fd = -1, other = -1;
    char *mapped = nullptr;
    std::string shown;
};

Shared deleted(const std::string &name) {
    Shared file;
    file.name = name;
    scenario::write_file(name, "0123456789");
    file.fd = SYS(::open(name.c_str(), O_RDWR));
    file.other = SYS(::open(name.c_str(), O_RDWR | O_APPEND));
    file.mapped = static_cast<char *>(SYS(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0)));
    SYS(::lseek(file.fd, 3, SEEK_SET));
    SYS(::unlink(name.c_str()));
    file.shown = link_of(file.fd);
    return file;
}

void check_deleted(const Shared &file) {
    EQUAL(file.shown, link_of(file.fd));
    EQUAL(file.shown, link_of(file.other));
    char text[20] = {};
    EQUAL(7, ::read(file.fd, text, sizeof text));
    EQUAL("3456789", std::string(text));
    // one inode: what one writes the others see
    EQUAL(1, ::pwrite(file.fd, "A", 1, 0));
    EQUAL('A', file.mapped[0]);
    file.mapped[1] = 'B';
    EQUAL(2, ::pread(file.other, text, 2, 0));
    EQUAL("AB", std::string(text, 2));
    EQUAL(1, ::write(file.other, "!", 1)); // O_APPEND
    struct stat about = {}, again = {};
    SYS(::fstat(file.fd, &about));
    SYS(::fstat(file.other, &again));
    EQUAL(11, about.st_size);
    EQUAL(about.st_ino, again.st_ino);
    EQUAL(0, about.st_nlink);
    EQUAL(-1, ::access(file.name.c_str(), F_OK));
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    std::vector<Shared> files;
    for (const std::string &name :
         {std::string("a\nname of two lines"), std::string("\xff\xfe not UTF-8 \x80"), std::string("ends (deleted)"),
          std::string(" blanks  and\ttabs "), std::string("back\\slash \\012"), std::string(200, 'l')})
        files.push_back(deleted(scenario::path(name)));
    const std::string longest = scenario::path(std::string(255, 'L')); // NAME_MAX
    files.push_back(deleted(longest));

    // a file with the old name by now must not be touched
    scenario::write_file(scenario::path("taken"), "old");
    const int old = SYS(::open(scenario::path("taken").c_str(), O_RDWR));
    SYS(::unlink(scenario::path("taken").c_str()));
    scenario::write_file(scenario::path("taken"), "new");

    std::string deep = scenario::directory;
    for (int i = 0; i < 28; ++i) {
        deep += "/" + std::string(120, static_cast<char>('a' + i % 26));
        SYS(::mkdir(deep.c_str(), 0755));
    }
    files.push_back(deleted(deep + "/deleted"));
    scenario::write_file(deep + "/stays", "deep");
    const int stays = SYS(::open((deep + "/stays").c_str(), O_RDONLY));

    // the directory of a file is gone, too
    SYS(::mkdir(scenario::path("gone").c_str(), 0755));
    SYS(::mkdir(scenario::path("gone/inner").c_str(), 0755));
    scenario::write_file(scenario::path("gone/inner/file"), "orphan");
    const int orphan = SYS(::open(scenario::path("gone/inner/file").c_str(), O_RDWR));
    const int inner = SYS(::open(scenario::path("gone/inner").c_str(), O_RDONLY | O_DIRECTORY));
    SYS(::unlink(scenario::path("gone/inner/file").c_str()));
    SYS(::chdir(scenario::path("gone/inner").c_str()));
    SYS(::rmdir(scenario::path("gone/inner").c_str()));
    SYS(::rmdir(scenario::path("gone").c_str()));
    EQUAL(scenario::path("gone/inner") + " (deleted)", link_of("cwd"));

    const int sparse = SYS(::open(scenario::path("sparse").c_str(), O_RDWR | O_CREAT, 0600));
    const std::string data(data_size, 's');
    SYS(::ftruncate(sparse, apparent));
    EQUAL(data_size, ::pwrite(sparse, data.data(), data.size(), apparent / 2));
    SYS(::unlink(scenario::path("sparse").c_str()));

    // its own name is gone, another is there
    scenario::write_file(scenario::path("one"), "two names");
    SYS(::link(scenario::path("one").c_str(), scenario::path("two").c_str()));
    const int linked = SYS(::open(scenario::path("one").c_str(), O_RDWR));
    SYS(::unlink(scenario::path("one").c_str()));

    scenario::write_file(scenario::path("before"), "renamed");
    const int renamed = SYS(::open(scenario::path("before").c_str(), O_RDWR));
    SYS(::rename(scenario::path("before").c_str(), scenario::path("after").c_str()));

    const int marked = SYS(::open(scenario::path("marked").c_str(), O_RDWR | O_CREAT, 0600));
    const bool attributes = ::fsetxattr(marked, "user.colour", "red\0blue", 8, 0) == 0; // not on every kernel's tmpfs
    SYS(::fchown(marked, 1234, 4321));
    SYS(::fchmod(marked, 06751));
    const struct timespec times[2] = {{1000, 5}, {2000, 7}};
    SYS(::futimens(marked, times));
    SYS(::unlink(scenario::path("marked").c_str()));

    scenario::ready();
    scenario::wait();

    struct stat about = {};
    SYS(::fstat(marked, &about));
    EQUAL(1234, about.st_uid);
    EQUAL(4321, about.st_gid);
    EQUAL(06751, about.st_mode & 07777);
    EQUAL(2000, about.st_mtim.tv_sec);
    EQUAL(7, about.st_mtim.tv_nsec);
    char value[20] = {};
    EQUAL(attributes ? 8 : -1, ::fgetxattr(marked, "user.colour", value, sizeof value));
    if (attributes)
        EQUAL(0, std::memcmp(value, "red\0blue", 8));

    for (const Shared &file : files)
        check_deleted(file);
    char text[20] = {};
    EQUAL(3, ::pread(old, text, sizeof text, 0));
    EQUAL("old", std::string(text, 3));
    EQUAL(scenario::path("taken") + " (deleted)", link_of(old));
    EQUAL("new", scenario::read_file(scenario::path("taken")));
    EQUAL(4, ::pread(stays, text, sizeof text, 0));
    EQUAL(deep + "/stays", link_of(stays));
    EQUAL(6, ::pread(orphan, text, sizeof text, 0));
    EQUAL("orphan", std::string(text, 6));
    EQUAL(-1, ::openat(inner, "x", O_CREAT | O_RDWR, 0600)); // a directory that is gone takes no names
    EQUAL(ENOENT, errno);
    EQUAL(scenario::path("gone/inner") + " (deleted)", link_of("cwd"));
    EQUAL(scenario::path("gone/inner") + " (deleted)", link_of(inner));
    char where[4096] = {};
    EQUAL(true, ::getcwd(where, sizeof where) == nullptr);
    EQUAL(ENOENT, errno);
    struct stat here = {};
    SYS(::stat(".", &here));
    EQUAL(0, here.st_nlink);
    CHECK(::access(scenario::path("gone").c_str(), F_OK) != 0);

    SYS(::fstat(sparse, &about));
    EQUAL(apparent, about.st_size);
    CHECK(about.st_blocks * 512 < 4 * static_cast<off_t>(data_size));
    std::string found(data_size, '\0');
    EQUAL(data_size, ::pread(sparse, found.data(), found.size(), apparent / 2));
    CHECK(found == data);

    // Whether it is still one file with its other name depends on the strategy: unit-files looks at that.
    EQUAL(9, ::pread(linked, text, sizeof text, 0));
    EQUAL(scenario::path("after"), link_of(renamed));
    EQUAL(0, ::access(scenario::path("after").c_str(), F_OK));
    CHECK(::access(scenario::path("before").c_str(), F_OK) != 0);
    scenario::pass();
}
