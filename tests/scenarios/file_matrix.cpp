// SPDX-License-Identifier: LGPL-2.1-or-later
// Each way in which a file can have kept, changed or lost its name, times how it is held (descriptor, mapping, both),
// by whom (one process, two with one open file, two with one of their own each) and how it is called. A failure names
// the cell. ABEY_MATRIX=WAY in the environment: only that way.
#include "scenario.h"

#include <cstdlib>
#include <fstream>
#include <vector>

#include <sys/mman.h>

namespace {

constexpr size_t size = 5000;

enum class Holder { descriptor, mapping, both };
enum class Sharing { alone, inherited, own };

struct Way {
    const char *name;
    bool lasts; // it still has a name
};
constexpr Way ways[] = {{"named", true},          {"renamed", true}, {"directory renamed", true},
                        {"renamed over", false},  {"linked", false}, {"linked beside", false},
                        {"deleted", false},       {"taken", false},  {"orphan", false},
                        {"without a name", false}};
constexpr const char *holders[] = {"descriptor", "mapping", "both"};
constexpr const char *sharings[] = {"alone", "inherited", "own"};

// What one process holds of a file.
struct Held {
    int fd = -1;
    char *mapped = nullptr;
    std::string fd_shown, map_shown;
};

struct Cell {
    std::string text; // for messages
    std::string way, name, file;
    Holder holder = Holder::descriptor;
    Sharing sharing = Sharing::alone;
    Held parent, child;
};

#define CELL(cell, condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ::scenario::failed(__FILE__, __LINE__, (cell).text + ": " #condition);                                     \
    } while (false)

void same(const Cell &cell, std::string wanted, std::string found) {
    if (cell.way == "without a name") // "#" and the inode's number, which is another one
        for (std::string *shown : {&wanted, &found})
            shown->resize(shown->rfind('#'));
    if (wanted != found)
        scenario::failed(__FILE__, __LINE__, cell.text + ": shown as " + found + ", before it was " + wanted);
}

std::string contents(const Cell &cell) {
    std::string text = cell.text + "\n";
    text.resize(size, '.');
    return text;
}

std::string link_of(int fd) {
    std::vector<char> text(8192);
    const ssize_t length = SYS(::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text.data(), text.size()));
    return {text.data(), static_cast<size_t>(length)};
}

// The path of the mapping at an address, as /proc/self/maps has it: newlines and the like escaped.
std::string mapped_path(const char *place) {
    char wanted[32];
    std::snprintf(wanted, sizeof wanted, "%lx-", reinterpret_cast<unsigned long>(place));
    std::ifstream in("/proc/self/maps");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(wanted))
            return line.substr(std::min(line.size(), size_t{73}));
    return "(none)";
}

Held hold(const Cell &cell, int fd) {
    Held held;
    if (cell.holder != Holder::descriptor)
        held.mapped = static_cast<char *>(SYS(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    if (cell.holder == Holder::mapping) {
        SYS(::close(fd));
    } else {
        held.fd = fd;
        SYS(::lseek(fd, 7, SEEK_SET));
    }
    return held;
}

void let_go(Held &held) {
    if (held.fd >= 0)
        SYS(::close(held.fd));
    if (held.mapped != nullptr)
        SYS(::munmap(held.mapped, 8192));
    held = {};
}

void make(Cell &cell, const std::string &directory) {
    SYS(::mkdir(directory.c_str(), 0755));
    cell.file = directory + "/" + cell.name;
    int fd = -1;
    if (cell.way == "without a name") {
        fd = SYS(::open(directory.c_str(), O_TMPFILE | O_RDWR, 0640));
    } else {
        fd = SYS(::open(cell.file.c_str(), O_RDWR | O_CREAT | O_EXCL, 0640));
    }
    const std::string text = contents(cell);
    EQUAL(size, ::write(fd, text.data(), text.size()));
    if (cell.sharing == Sharing::own)
        cell.child = hold(cell, SYS(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR)));
    cell.parent = hold(cell, fd);
    if (cell.sharing == Sharing::inherited)
        cell.child = cell.parent;
}

// What becomes of the name.
void part(const Cell &cell, const std::string &directory) {
    const std::string &file = cell.file;
    if (cell.way == "renamed")
        SYS(::rename(file.c_str(), (directory + "/after").c_str()));
    if (cell.way == "directory renamed")
        SYS(::rename(directory.c_str(), (directory + "-after").c_str()));
    if (cell.way == "renamed over") {
        scenario::write_file(directory + "/other", "another's");
        SYS(::rename((directory + "/other").c_str(), file.c_str()));
    }
    if (cell.way == "linked") {
        SYS(::mkdir((directory + "-beside").c_str(), 0755));
        SYS(::link(file.c_str(), (directory + "-beside/link").c_str()));
    }
    if (cell.way == "linked beside")
        SYS(::link(file.c_str(), (directory + "/link").c_str()));
    if (cell.way.starts_with("linked") || cell.way == "deleted" || cell.way == "taken" || cell.way == "orphan")
        SYS(::unlink(file.c_str()));
    if (cell.way == "taken")
        scenario::write_file(file, "another's");
    if (cell.way == "orphan")
        SYS(::rmdir(directory.c_str()));
}

void look(Held &held) {
    if (held.fd >= 0)
        held.fd_shown = link_of(held.fd);
    if (held.mapped != nullptr)
        held.map_shown = mapped_path(held.mapped);
}

std::string read_through(const Held &held, size_t at, size_t length) {
    if (held.mapped != nullptr)
        return {held.mapped + at, length};
    std::string text(length, '\0');
    const ssize_t got = SYS(::pread(held.fd, text.data(), length, static_cast<off_t>(at)));
    text.resize(static_cast<size_t>(got));
    return text;
}

void write_through(const Held &held, size_t at, char byte) {
    if (held.fd >= 0)
        EQUAL(1, ::pwrite(held.fd, &byte, 1, static_cast<off_t>(at)));
    else
        held.mapped[at] = byte;
}

void check(const Cell &cell, const Held &held) {
    if (held.fd >= 0) {
        same(cell, held.fd_shown, link_of(held.fd));
        CELL(cell, ::lseek(held.fd, 0, SEEK_CUR) == 7);
        struct stat about = {};
        SYS(::fstat(held.fd, &about));
        CELL(cell, (about.st_mode & 07777) == 0640);
        CELL(cell, about.st_size == static_cast<off_t>(size));
    }
    if (held.mapped != nullptr)
        same(cell, held.map_shown, mapped_path(held.mapped));
    CELL(cell, read_through(held, 10, size - 10) == contents(cell).substr(10));
    if (cell.holder == Holder::both) { // one inode
        held.mapped[4] = 'm';
        char byte = 0;
        EQUAL(1, ::pread(held.fd, &byte, 1, 4));
        CELL(cell, byte == 'm');
    }
}

void check_names(const Cell &cell, bool lasts) {
    if (cell.way == "renamed over" || cell.way == "taken")
        CELL(cell, scenario::read_file(cell.file) == "another's");
    else if (cell.way != "named")
        CELL(cell, ::access(cell.file.c_str(), F_OK) != 0);
    struct stat about = {};
    if (cell.parent.fd >= 0) {
        SYS(::fstat(cell.parent.fd, &about));
        // Whether a file is one with its other name afterwards depends on the strategy
        if (!cell.way.starts_with("linked"))
            CELL(cell, about.st_nlink == (lasts ? 1U : 0U));
    }
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const char *only = ::getenv("ABEY_MATRIX");
    const std::vector<std::string> names = {"plain", "two\nlines", "\xff\xfe \x80", " blanks\tand more ",
                                            std::string(255, 'n')};
    std::vector<Cell> cells;
    std::vector<bool> lasts;
    for (const auto &[way, has_name] : ways)
        for (int holder = 0; holder < 3; ++holder)
            for (int sharing = 0; sharing < 3; ++sharing)
                for (size_t name = 0; name < names.size(); ++name) {
                    if ((only != nullptr && std::string(only) != way) ||
                        (name > 0 && (sharing > 0 || std::string(way) == "without a name")))
                        continue;
                    Cell cell;
                    cell.way = way;
                    cell.name = names[name];
                    cell.holder = static_cast<Holder>(holder);
                    cell.sharing = static_cast<Sharing>(sharing);
                    cell.text =
                        cell.way + ", " + holders[holder] + ", " + sharings[sharing] + ", name " + std::to_string(name);
                    cells.push_back(std::move(cell));
                    lasts.push_back(has_name);
                }
    for (size_t i = 0; i < cells.size(); ++i)
        make(cells[i], scenario::path("d" + std::to_string(i)));
    for (size_t i = 0; i < cells.size(); ++i)
        part(cells[i], scenario::path("d" + std::to_string(i)));
    for (Cell &cell : cells) {
        look(cell.parent);
        look(cell.child);
    }
    int to_child[2];
    int to_parent[2];
    SYS(::pipe(to_child));
    SYS(::pipe(to_parent));
    char byte = 0;
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        for (Cell &cell : cells)
            if (cell.sharing != Sharing::inherited)
                let_go(cell.parent);
        EQUAL(1, ::write(to_parent[1], "c", 1));
        EQUAL(1, ::read(to_child[0], &byte, 1));
        for (Cell &cell : cells)
            if (cell.sharing != Sharing::alone) {
                check(cell, cell.child);
                CELL(cell, read_through(cell.child, 0, 1) == "P");
                write_through(cell.child, 1, 'C');
                if (cell.child.fd >= 0)
                    SYS(::lseek(cell.child.fd, 9, SEEK_SET));
            }
        EQUAL(1, ::write(to_parent[1], "c", 1));
        ::_exit(0);
    }
    for (Cell &cell : cells)
        if (cell.sharing == Sharing::own)
            let_go(cell.child);
    EQUAL(1, ::read(to_parent[0], &byte, 1));
    scenario::ready();
    scenario::wait();

    for (size_t i = 0; i < cells.size(); ++i) {
        check(cells[i], cells[i].parent);
        check_names(cells[i], lasts[i]);
        write_through(cells[i].parent, 0, 'P');
    }
    EQUAL(1, ::write(to_child[1], "p", 1));
    EQUAL(0, scenario::exit_status(child));
    for (const Cell &cell : cells)
        if (cell.sharing != Sharing::alone) {
            CELL(cell, read_through(cell.parent, 1, 1) == "C");
            // one open file has one position, two have two
            if (cell.parent.fd >= 0)
                CELL(cell, ::lseek(cell.parent.fd, 0, SEEK_CUR) == (cell.sharing == Sharing::inherited ? 9 : 7));
        }
    scenario::pass();
}
