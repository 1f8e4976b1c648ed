// SPDX-License-Identifier: LGPL-2.1-or-later
// Mappings with their protections, flags and contents; guard pages, heap, a growing stack, vDSO in place.
#include "scenario.h"

#include <algorithm>
#include <sys/mman.h>
#include <vector>

namespace {

constexpr std::size_t page = 4096;

// /proc/self/smaps, read without a single allocation: the heap would grow from looking at it.
struct Layout {
    char text[512 * 1024] = {};
    std::size_t size = 0;
    void read() {
        const int fd = SYS(::open("/proc/self/smaps", O_RDONLY | O_CLOEXEC));
        for (ssize_t got = 1; got > 0; size += static_cast<std::size_t>(got))
            got = SYS(::read(fd, text + size, sizeof text - size));
        SYS(::close(fd));
    }
    // The next line that describes what the program asked for, not how the kernel serves it; empty at the end
    std::string_view next(std::size_t &at) const {
        while (at < size) {
            const std::string_view rest(text + at, size - at);
            std::string_view line = rest.substr(0, rest.find('\n'));
            at += line.size() + 1;
            const bool head = line.find('-') < line.find(' ');
            if (!head && line.ends_with(" sd "))
                line.remove_suffix(3); // soft-dirty: whether somebody has asked the kernel to watch writes
            if (head || line.starts_with("VmFlags:"))
                return line;
        }
        return {};
    }
};
Layout before; // NOLINT
Layout after;  // NOLINT

// Neighbours alike in all but their place count as one: whether the kernel merges them depends on their history.
std::vector<std::string> areas(const Layout &layout) {
    std::vector<std::string> all;
    std::string last_end;
    std::string last_rest;
    for (std::size_t at = 0;;) {
        const std::string head(layout.next(at));
        if (head.empty())
            return all;
        std::string flags(layout.next(at));
        if (const auto mark = flags.find(" gu "); mark != std::string::npos)
            flags.erase(mark, 3); // that there may once have been guard pages, here or in what was merged with it
        const auto dash = head.find('-');
        const auto space = head.find(' ');
        const std::string begin = head.substr(0, dash);
        const std::string end = head.substr(dash + 1, space - dash - 1);
        std::string rest = head.substr(space) + " " + flags;
        if (const auto name = head.find("/dev/zero (deleted)"); name != std::string::npos)
            rest = head.substr(space, 5) + " " + head.substr(name) + " " + flags; // its inode number is nobody's choice
        if (begin == last_end && rest == last_rest && rest.find(" 00000000 00:00 0 ") != std::string::npos) {
            all.back().resize(all.back().find('-') + 1);
            all.back().append(end).append(rest);
        } else {
            all.push_back(begin);
            all.back().append("-").append(end).append(rest);
        }
        last_end = end;
        last_rest = rest;
    }
}

void compare() {
    const auto expected = areas(before);
    const auto found = areas(after);
    for (std::size_t i = 0; i < std::min(expected.size(), found.size()); ++i)
        EQUAL(expected[i], found[i]);
    EQUAL(expected.size(), found.size());
}

char *map(std::size_t pages, int protection, int flags, int fd = -1) {
    return static_cast<char *>(SYS(::mmap(nullptr, pages * page, protection, flags, fd, 0)));
}

// NOLINTNEXTLINE: deep on purpose
int grow(int depth) {
    volatile char room[16 * page];
    room[0] = static_cast<char>(depth);
    return depth == 0 ? room[0] : grow(depth - 1) + room[0] - static_cast<char>(depth);
}

char handler_stack[16 * page];

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    constexpr int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    constexpr int both = PROT_READ | PROT_WRITE;
    char *plain = map(8, both, anonymous);
    std::memset(plain, 'a', 3 * page);
    SYS(::mprotect(plain + 2 * page, page, PROT_READ));
    char *installed = map(5, both, anonymous);
    std::memset(installed, 'i', 5 * page);
    constexpr int guard_install = 102; // MADV_GUARD_INSTALL, Linux 6.13
    const bool has_guards = ::madvise(installed + page, 2 * page, guard_install) == 0;
    char *guard = map(3, both, anonymous);
    std::memset(guard, 'g', 3 * page);
    SYS(::mprotect(guard + page, page, PROT_NONE)); // has contents behind it
    char *code = map(1, both, anonymous);
    const unsigned char instructions[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; // mov $42, %eax; ret
    std::memcpy(code, instructions, sizeof instructions);
    SYS(::mprotect(code, page, PROT_READ | PROT_EXEC));
    char *marked = map(4, both, anonymous);
    SYS(::madvise(marked, page, MADV_DONTFORK));
    SYS(::madvise(marked + page, page, MADV_DONTDUMP));
    SYS(::madvise(marked + 2 * page, page, MADV_WIPEONFORK));
    std::memset(marked, 'm', 4 * page);
    char *locked = map(2, both, anonymous);
    SYS(::mlock(locked, page));
    char *reserve = map(1024, both, anonymous | MAP_NORESERVE);
    char *down = map(1, both, anonymous | MAP_GROWSDOWN);
    down[0] = 'd';
    char *never = map(16, both, anonymous);

    scenario::write_file(scenario::path("file"), std::string(4 * page, 'f'));
    const int fd = SYS(::open(scenario::path("file").c_str(), O_RDWR | O_CLOEXEC));
    char *shared = map(4, both, MAP_SHARED, fd);
    char *private_file = map(4, both, MAP_PRIVATE, fd);
    private_file[page] = 'p';
    SYS(::close(fd));
    char *shared_anonymous = map(4, both, MAP_SHARED | MAP_ANONYMOUS);
    std::memset(shared_anonymous + page, 's', page);
    char *heap = static_cast<char *>(::sbrk(5 * page));
    std::memset(heap, 'h', 5 * page);
    before.read();
    void *const program_break = ::sbrk(0);

    scenario::ready();
    scenario::wait();

    after.read();
    EQUAL(program_break, ::sbrk(0));
    compare();
    EQUAL('a', plain[0]);
    EQUAL('a', plain[2 * page + 5]);
    EQUAL(0, plain[3 * page]);
    EQUAL('i', installed[page - 1]);
    EQUAL('i', installed[3 * page]);
    EQUAL('g', guard[page - 1]);
    EQUAL('g', guard[2 * page]);
    int pipe_ends[2];
    SYS(::pipe(pipe_ends));
    for (const size_t i : {page, 2 * page})
        EQUAL(has_guards ? -1 : 1, ::write(pipe_ends[1], installed + i, 1));
    EQUAL(-1, ::write(pipe_ends[1], guard + page, 1));
    EQUAL(EFAULT, errno);
    SYS(::mprotect(guard + page, page, PROT_READ));
    EQUAL('g', guard[page + 7]);
    EQUAL(42, reinterpret_cast<int (*)()>(code)()); // NOLINT
    for (int i = 0; i < 4; ++i)
        EQUAL('m', marked[static_cast<std::size_t>(i) * page]);
    EQUAL(0, locked[0]);
    EQUAL(0, reserve[1000 * page]);
    EQUAL('d', down[0]);
    EQUAL(0, never[5 * page]);
    EQUAL('f', shared[3 * page]);
    EQUAL('p', private_file[page]);
    EQUAL('f', private_file[2 * page]);
    shared[2 * page] = 'n'; // a private page that was not written sees the file
    EQUAL('n', private_file[2 * page]);
    EQUAL('n', scenario::read_file(scenario::path("file"))[2 * page]);
    EQUAL('s', shared_anonymous[page]);
    EQUAL(0, shared_anonymous[0]);
    EQUAL('h', heap[5 * page - 1]);
    CHECK(::sbrk(page) != reinterpret_cast<void *>(-1));
    EQUAL(0, grow(60));
    EQUAL(0, handler_stack[5]);
    scenario::pass();
}
