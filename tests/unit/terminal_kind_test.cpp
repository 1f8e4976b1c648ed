// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pseudo-terminals, captured from a child and made again in the test.
#include "kinds_fixture.h"

#include <cstdlib>

#include <sys/ioctl.h>
#include <termios.h>

using namespace abey;
using namespace abey::test;

namespace {

constexpr int a = 10, b = 11, c = 12;

// A master of the test's own, unlocked.
Fd make_master() {
    Fd master = must(open_file("/dev/ptmx", O_RDWR | O_NOCTTY));
    must_call(::grantpt(master.get()), "grantpt");
    must_call(::unlockpt(master.get()), "unlockpt");
    return master;
}

std::string slave_name(const Fd &master) {
    char name[64] = {};
    must_call(-::ptsname_r(master.get(), name, sizeof name), "ptsname_r");
    return name;
}

void set_raw(int fd) {
    termios settings = {};
    must_call(::tcgetattr(fd, &settings), "tcgetattr");
    ::cfmakeraw(&settings);
    settings.c_cc[VINTR] = 5;
    must_call(::tcsetattr(fd, TCSANOW, &settings), "tcsetattr");
}

class Terminals : public Kinds {};

TEST_F(Terminals, MasterOutsideGoesToTheKeeper) {
    std::string name;
    uint32_t index = 0;
    model::ObjRef terminal = 0;
    {
        Fd master = make_master();
        name = slave_name(master);
        Child child([&] {
            must_call(::setsid(), "setsid");
            put(::open(name.c_str(), O_RDWR), a); // becomes the controlling terminal
            put(::open("/dev/tty", O_RDWR), b);
            put(::open(name.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK), c);
            set_raw(a);
            const winsize size = {.ws_row = 50, .ws_col = 132, .ws_xpixel = 7, .ws_ypixel = 9};
            must_call(::ioctl(a, TIOCSWINSZ, &size), "TIOCSWINSZ");
            must_call(::fchmod(a, 0620), "fchmod");
        });
        ASSERT_FALSE(child.failed());
        capture::Context context(tree_, files_, false);
        table_ = must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get()));
        terminal = must(capture::controlling_terminal(context, must(os::read_stat(child.pid()))));
        must(capture::complete(context));
        EXPECT_TRUE(context.findings.empty());
        EXPECT_EQ(tree_.terminals.size(), 1U) << "/dev/tty is the same terminal";
        const auto &captured = tree_.terminals.at(terminal);
        EXPECT_EQ(captured.session, child.pid());
        EXPECT_EQ(captured.foreground, child.pid());
        EXPECT_FALSE(captured.master_inside);
        index = captured.index;
    }
    EXPECT_EQ(fmt::format("/dev/pts/{}", index), name);
    rebuilt_ = std::make_unique<rebuild::Context>(tree_, files_, Fd());
    must(rebuild::fill(*rebuilt_));
    ASSERT_TRUE(rebuilt_->masters.contains(terminal));
    const Fd &master = rebuilt_->masters.at(terminal);
    EXPECT_EQ(slave_name(master), name) << "the index was free";
    EXPECT_EQ(link_of(fd(a)), name);
    EXPECT_EQ(link_of(fd(b)), "/dev/tty");
    EXPECT_EQ(::fcntl(fd(c), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
    EXPECT_EQ(::fcntl(fd(a), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
    termios settings = {};
    ASSERT_EQ(::tcgetattr(fd(a), &settings), 0);
    EXPECT_EQ(settings.c_lflag & (ICANON | ECHO), 0U);
    EXPECT_EQ(settings.c_cc[VINTR], 5);
    winsize size = {};
    ASSERT_EQ(::ioctl(fd(a), TIOCGWINSZ, &size), 0);
    EXPECT_EQ(size.ws_row, 50);
    EXPECT_EQ(size.ws_col, 132);
    EXPECT_EQ(size.ws_ypixel, 9);
    struct stat st = {};
    ASSERT_EQ(::stat(name.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0620U);
    EXPECT_GE(must(rebuild::terminal_slave(*rebuilt_, terminal)), 0);
    must(rebuild::finish(*rebuilt_));
    ASSERT_EQ(::write(master.get(), "typed", 5), 5);
    EXPECT_EQ(read(b), "typed") << "opened by /dev/tty, and not hung up";
    ASSERT_EQ(::write(fd(c), "shown", 5), 5);
    char text[16] = {};
    EXPECT_EQ(::read(master.get(), text, sizeof text), 5);
    EXPECT_STREQ(text, "shown");
}

TEST_F(Terminals, BothEndsInside) {
    Child child([] {
        Fd master = make_master();
        put(::open(slave_name(master).c_str(), O_RDWR | O_NOCTTY), b);
        put(master.release(), a);
        const int on = 1;
        must_call(::ioctl(a, TIOCPKT, &on), "TIOCPKT");
        must_call(::ioctl(b, TIOCEXCL), "TIOCEXCL");
        set_raw(b);
    });
    capture(child);
    ASSERT_EQ(tree_.terminals.size(), 1U);
    const auto &terminal = tree_.terminals.begin()->second;
    EXPECT_TRUE(terminal.master_inside);
    EXPECT_TRUE(terminal.packet_mode);
    EXPECT_TRUE(terminal.exclusive);
    child.end();
    rebuild();
    EXPECT_TRUE(rebuilt_->masters.empty());
    ASSERT_EQ(::write(fd(b), "x", 1), 1);
    EXPECT_EQ(read(a), std::string("\0x", 2)) << "packet mode";
    int exclusive = 0;
    ASSERT_EQ(::ioctl(fd(b), TIOCGEXCL, &exclusive), 0);
    EXPECT_EQ(exclusive, 1);
    const Fd last(::dup(fd(b)));
    rebuilt_->drop(file(a).id);
    EXPECT_EQ(::write(last.get(), "x", 1), -1) << "nobody else holds the master";
}

TEST_F(Terminals, TakenIndexAndHungUp) {
    Fd taken;
    {
        Fd master = make_master();
        const std::string name = slave_name(master);
        Child child([&] {
            put(::open(name.c_str(), O_RDWR | O_NOCTTY), a);
            Fd own = make_master();
            put(::open(slave_name(own).c_str(), O_RDWR | O_NOCTTY), b); // its master closes here
        });
        capture(child);
        taken = std::move(master); // the index stays in use
    }
    rebuild();
    EXPECT_NE(link_of(fd(a)), slave_name(taken));
    ASSERT_EQ(rebuilt_->masters.size(), 1U) << "none for the one that was hung up";
    EXPECT_EQ(read(b), "") << "end of file, as of every terminal that was hung up";
}

TEST_F(Terminals, UnreadInputIsKept) {
    const Fd master = make_master();
    const std::string name = slave_name(master);
    Child child([&] {
        put(::open(name.c_str(), O_RDWR | O_NOCTTY), a);
        set_raw(a);
    });
    ASSERT_EQ(::write(master.get(), "abc", 3), 3);
    const Fd slave = child.take(a);
    for (int unread = 0, i = 0; unread < 3 && i < 100; ++i) { // it comes by way of a work queue
        ::ioctl(slave.get(), FIONREAD, &unread);
        ::usleep(1000);
    }
    capture(child);
    EXPECT_TRUE(findings_.empty());
    char text[8] = {};
    EXPECT_EQ(::read(slave.get(), text, sizeof text), 3) << "the live terminal keeps it";
    rebuild();
    EXPECT_EQ(read(a), "abc");
}

} // namespace
