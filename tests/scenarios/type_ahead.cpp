// SPDX-License-Identifier: LGPL-2.1-or-later
// What was typed or printed and nobody has read yet: whole lines in canonical mode (ended by Enter, by ^D, by VEOL,
// with bytes in them that were quoted by ^V), a line that is not ended and can still be corrected, keys in raw mode,
// output.
#include "scenario.h"

#include <sys/ioctl.h>
#include <termios.h>

namespace {

struct Pair {
    int master, slave;
};

Pair make() {
    Pair made = {};
    made.master = SYS(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    SYS(::grantpt(made.master));
    SYS(::unlockpt(made.master));
    made.slave = SYS(::open(::ptsname(made.master), O_RDWR | O_NOCTTY | O_NONBLOCK));
    return made;
}

void change(const Pair &pair, void (*how)(termios &)) {
    termios settings = {};
    SYS(::tcgetattr(pair.slave, &settings));
    how(settings);
    SYS(::tcsetattr(pair.slave, TCSANOW, &settings));
}

void type(const Pair &pair, const std::string &text) {
    EQUAL(text.size(), SYS(::write(pair.master, text.data(), text.size())));
}

std::string next(int fd) {
    char text[8192];
    const ssize_t got = ::read(fd, text, sizeof text);
    return got < 0 ? std::string("nothing") : std::string(text, static_cast<std::size_t>(got));
}

// What is written at one end comes to the other by a worker of the kernel.
std::string wait_for(int fd) {
    for (int i = 0; i < 6000; ++i) {
        if (const std::string text = next(fd); text != "nothing")
            return text;
        ::usleep(10000);
    }
    return "nothing";
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);

    const Pair lines = make();
    change(lines, [](termios &settings) {
        settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        settings.c_cc[VEOL] = ';';
    });
    type(lines, "first\nsecond\n");
    type(lines, "ended\004\004by a sign;");
    type(lines, std::string("quoted \x16\x13 \x16\x11 \x16\x04 \x16; \x16\n \xff.\n"));
    type(lines, "half a lin");

    const Pair only_half = make();
    type(only_half, "tyqo");
    EQUAL("tyqo", wait_for(only_half.master)); // the echo

    const Pair keys = make();
    change(keys, [](termios &settings) {
        ::cfmakeraw(&settings);
        settings.c_iflag |= IXON;
    });
    type(keys, std::string("\x1b[A\0\r\n\x03\xff\x04", 9));

    const Pair output = make();
    EQUAL(6, SYS(::write(output.slave, "a\nb\n\n\n", 6)));

    const Pair packets = make();
    const int on = 1;
    SYS(::ioctl(packets.master, TIOCPKT, &on));
    EQUAL(5, SYS(::write(packets.slave, "shown", 5)));

    const Pair much = make();
    change(much, [](termios &settings) { ::cfmakeraw(&settings); });
    std::string all;
    for (int i = 0; i < 6000; ++i)
        all += static_cast<char>(i * 7);
    EQUAL(6000, SYS(::write(much.slave, all.data(), all.size())));

    scenario::ready();
    scenario::wait();

    EQUAL("first\n", wait_for(lines.slave));
    EQUAL("second\n", next(lines.slave));
    EQUAL("ended", next(lines.slave));
    EQUAL("", next(lines.slave)); // ^D at the start of a line: the end of a file
    EQUAL("by a sign;", next(lines.slave));
    EQUAL("quoted \x13 \x11 \x04 ; \n \xff.\n", next(lines.slave));
    EQUAL("nothing", next(lines.slave));
    type(lines, "e\n");
    EQUAL("half a line\n", wait_for(lines.slave));

    EQUAL("nothing", next(only_half.slave));
    EQUAL("nothing", next(only_half.master)); // no second echo
    type(only_half, "\x7f\x7fped\n");
    EQUAL("typed\n", wait_for(only_half.slave));

    EQUAL(std::string("\x1b[A\0\r\n\x03\xff\x04", 9), wait_for(keys.slave));
    EQUAL("nothing", next(keys.slave));
    EQUAL("a\r\nb\r\n\r\n\r\n", wait_for(output.master));
    EQUAL(std::string("\0shown", 6), wait_for(packets.master));
    std::string found;
    while (found.size() < all.size()) {
        const std::string part = wait_for(much.master);
        CHECK(part != "nothing");
        found += part;
    }
    CHECK(found == all);
    scenario::pass();
}
