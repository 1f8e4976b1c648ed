// SPDX-License-Identifier: LGPL-2.1-or-later
// A terminal whose master is inside the tree: its settings, size, session and foreground group, and that both ends
// still belong together.
#include "scenario.h"

#include <sys/ioctl.h>
#include <termios.h>

static volatile sig_atomic_t resized = 0;

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const int master = SYS(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    SYS(::grantpt(master));
    SYS(::unlockpt(master));
    const std::string name = ::ptsname(master);
    const winsize size = {33, 99, 0, 0};
    SYS(::ioctl(master, TIOCSWINSZ, &size));
    int ends[2];
    SYS(::pipe(ends));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        ::setsid();
        const int slave = SYS(::open(name.c_str(), O_RDWR));
        SYS(::ioctl(slave, TIOCSCTTY, 0));
        const int held = SYS(::open("/dev/tty", O_RDWR)); // as pagers and shells do
        // The kernel then shows O_CLOEXEC of the open file, and so of its every descriptor (ioctl_tty(2))
        const int peer = SYS(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
        const int inherited = SYS(::dup(peer));
        termios settings = {};
        SYS(::tcgetattr(slave, &settings));
        ::cfmakeraw(&settings);
        settings.c_cc[VERASE] = '#';
        settings.c_lflag |= ISIG;
        SYS(::tcsetattr(slave, TCSANOW, &settings));
        ::signal(SIGWINCH, [](int) { resized = 1; });
        EQUAL(1, ::write(ends[1], "r", 1));
        while (!scenario::told(100)) {
        }
        EQUAL(FD_CLOEXEC, ::fcntl(peer, F_GETFD));
        EQUAL(0, ::fcntl(inherited, F_GETFD));
        termios now = {};
        SYS(::tcgetattr(slave, &now));
        EQUAL(settings.c_lflag, now.c_lflag);
        EQUAL(settings.c_iflag, now.c_iflag);
        EQUAL(settings.c_oflag, now.c_oflag);
        EQUAL('#', now.c_cc[VERASE]);
        winsize found = {};
        SYS(::ioctl(slave, TIOCGWINSZ, &found));
        EQUAL(33, found.ws_row);
        EQUAL(99, found.ws_col);
        EQUAL(::getpid(), ::tcgetsid(slave));
        EQUAL(::getpgrp(), ::tcgetpgrp(slave));
        const int own = SYS(::open("/dev/tty", O_RDWR | O_CLOEXEC));
        EQUAL(3, ::write(own, "out", 3));
        EQUAL(3, ::write(held, "put", 3));
        char text[10] = {};
        EQUAL(5, ::read(slave, text, sizeof text));
        EQUAL(std::string("typed"), std::string(text));
        EQUAL(0, resized); // a program would take it for an event, and some drop the key that comes next
        EQUAL(1, ::write(ends[1], "d", 1));
        ::pause(); // until ^C comes
        ::_exit(1);
    }
    char byte = 0;
    EQUAL(1, ::read(ends[0], &byte, 1));
    scenario::ready();
    scenario::wait();
    EQUAL(5, ::write(master, "typed", 5));
    SYS(::kill(child, SIGTERM));
    EQUAL(1, ::read(ends[0], &byte, 1));
    std::string all;
    while (all.size() < 6) {
        char buffer[100];
        const ssize_t got = SYS(::read(master, buffer, sizeof buffer));
        all.append(buffer, static_cast<std::size_t>(got));
    }
    EQUAL(std::string("output"), all);
    EQUAL(1, ::write(master, "\003", 1));
    EQUAL(128 + SIGINT, scenario::exit_status(child));
    scenario::pass();
}
