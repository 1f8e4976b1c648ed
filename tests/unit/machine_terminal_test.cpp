// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Virtual consoles, captured from a child and replaced by pseudo-terminals in the test.
#include "kinds_fixture.h"

#include <algorithm>
#include <tuple>

#include <linux/kd.h>
#include <linux/vt.h>
#include <sys/ioctl.h>
#include <termios.h>

using namespace abey;
using namespace abey::test;

namespace {

constexpr int a = 10, b = 11, c = 12;

class MachineTerminals : public Kinds {
  protected:
    void SetUp() override {
        const auto active = open_file("/dev/tty0", O_RDWR | O_NOCTTY);
        if (!active)
            GTEST_SKIP() << "there are no virtual consoles: " << active.error().message();
        if (::ioctl(active->get(), VT_OPENQRY, &number_) < 0 || number_ < 1)
            GTEST_SKIP() << "no virtual console is free";
        console_ = fmt::format("/dev/tty{}", number_);
        held_ = must(open_file(console_, O_RDWR | O_NOCTTY | O_NONBLOCK)); // it is not free for others any more
    }
    void TearDown() override {
        held_.reset();
        if (number_ > 0) // EBUSY: somebody else has opened it in between
            (void)::ioctl(must(open_file("/dev/tty0", O_RDWR | O_NOCTTY)).get(), VT_DISALLOCATE, number_);
    }
    // What the child sees as its own; with its controlling terminal, as the whole of a session would be.
    void capture_session(const Child &child, engine::DeviceAction action, bool preflight) {
        capture::Context context(tree_, files_, preflight);
        context.devices = [this, action](std::string_view path) {
            asked_.emplace_back(path);
            return engine::DeviceChoice{.action = action, .rule = "policy.toml:7"};
        };
        auto table = capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get());
        if (!table) {
            refused_ = table.error().message();
            return;
        }
        table_ = *table;
        terminal_ = must(capture::controlling_terminal(context, must(os::read_stat(child.pid()))));
        must(capture::complete(context));
        findings_ = std::move(context.findings);
    }
    // Sets up the console as the one that it has logged in on.
    [[nodiscard]] std::function<void()> logged_in() const {
        return [this] {
            must_call(::setsid(), "setsid");
            put(::open(console_.c_str(), O_RDWR), a); // becomes the controlling terminal
            put(::open("/dev/tty", O_RDWR), b);
        };
    }

    int number_ = 0;
    std::string console_, refused_;
    Fd held_;
    std::vector<std::string> asked_;
    model::ObjRef terminal_ = 0;
};

TEST_F(MachineTerminals, PseudoTerminalTakesThePlaceOfTheConsole) {
    winsize before = {};
    termios settings = {};
    {
        Child child([&] {
            logged_in()();
            termios own = {};
            must_call(::tcgetattr(a, &own), "tcgetattr");
            own.c_cc[VINTR] = 5;
            must_call(::tcsetattr(a, TCSANOW, &own), "tcsetattr");
        });
        ASSERT_FALSE(child.failed());
        ASSERT_EQ(::tcgetattr(held_.get(), &settings), 0);
        ASSERT_EQ(::ioctl(held_.get(), TIOCGWINSZ, &before), 0);
        for (const char key : {'l', 's'})
            ASSERT_EQ(::ioctl(held_.get(), TIOCSTI, &key), 0) << "what was typed and not read yet";
        capture_session(child, engine::DeviceAction::replace, false);
        char key = '\n';
        ASSERT_EQ(::ioctl(held_.get(), TIOCSTI, &key), 0);
        char line[8] = {};
        EXPECT_EQ(::read(held_.get(), line, sizeof line), 3) << "the live console keeps it";
        termios now = {};
        ASSERT_EQ(::tcgetattr(held_.get(), &now), 0);
        EXPECT_EQ(std::tie(now.c_iflag, now.c_oflag, now.c_cflag, now.c_lflag),
                  std::tie(settings.c_iflag, settings.c_oflag, settings.c_cflag, settings.c_lflag));
        EXPECT_TRUE(std::ranges::equal(now.c_cc, settings.c_cc));
    }
    EXPECT_EQ(asked_, std::vector<std::string>{console_});
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_FALSE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find(console_.substr(5) + " is replaced by a pseudo-terminal"), std::string::npos)
        << findings_[0].reason;
    ASSERT_EQ(tree_.terminals.size(), 1U) << "/dev/tty is the same terminal";
    EXPECT_EQ(tree_.terminals.at(terminal_).replaced, console_);
    rebuild();
    ASSERT_TRUE(rebuilt_->masters.contains(terminal_));
    EXPECT_TRUE(link_of(fd(a)).starts_with("/dev/pts/")) << link_of(fd(a));
    EXPECT_EQ(link_of(fd(b)), "/dev/tty");
    termios now = {};
    ASSERT_EQ(::tcgetattr(fd(a), &now), 0);
    EXPECT_EQ(now.c_cc[VINTR], 5);
    EXPECT_EQ(now.c_lflag, settings.c_lflag);
    winsize after = {};
    ASSERT_EQ(::ioctl(fd(a), TIOCGWINSZ, &after), 0);
    EXPECT_EQ(std::pair(after.ws_row, after.ws_col), std::pair(before.ws_row, before.ws_col));
    ASSERT_EQ(::write(rebuilt_->masters.at(terminal_).get(), " -l\n", 4), 4);
    EXPECT_EQ(read(a), "ls -l\n");
}

TEST_F(MachineTerminals, PolicyMayForbidIt) {
    Child child(logged_in());
    ASSERT_FALSE(child.failed());
    capture_session(child, engine::DeviceAction::fail, false);
    EXPECT_NE(refused_.find("the virtual console " + console_.substr(5)), std::string::npos) << refused_;
    EXPECT_NE(refused_.find("policy.toml:7"), std::string::npos) << refused_;
    capture::Context looking(tree_, files_, true); // goes on after what it refuses
    looking.devices = [](std::string_view) { return engine::DeviceChoice{engine::DeviceAction::fail, "here"}; };
    EXPECT_FALSE(capture::controlling_terminal(looking, must(os::read_stat(child.pid()))));
    EXPECT_TRUE(capture::complete(looking));
}

TEST_F(MachineTerminals, ConsoleThatIsDrawnOnIsRefused) {
    Child child([&] {
        logged_in()();
        must_call(::ioctl(a, KDSETMODE, KD_GRAPHICS), "KDSETMODE");
    });
    ASSERT_FALSE(child.failed());
    capture_session(child, engine::DeviceAction::replace, false);
    EXPECT_EQ(::ioctl(held_.get(), KDSETMODE, KD_TEXT), 0);
    EXPECT_NE(refused_.find("is not in text mode"), std::string::npos) << refused_;
}

TEST_F(MachineTerminals, ConsoleThatWasHungUpIsSoAgain) {
    Child child([&] {
        put(::open(console_.c_str(), O_RDWR | O_NOCTTY), c);
        must_call(::ioctl(c, TIOCVHANGUP), "TIOCVHANGUP");
        logged_in()();
    });
    ASSERT_FALSE(child.failed());
    capture_session(child, engine::DeviceAction::replace, false);
    EXPECT_EQ(findings_.size(), 1U);
    EXPECT_EQ(tree_.terminals.size(), 2U);
    rebuild();
    EXPECT_EQ(rebuilt_->masters.size(), 1U);
    EXPECT_EQ(read(c), "") << "end of file";
    EXPECT_EQ(::write(fd(c), "x", 1), -1);
    EXPECT_EQ(::write(fd(a), "x", 1), 1) << "the one that it was logged in on later";
}

TEST_F(MachineTerminals, HungUpByTheNameOfTheControllingTerminal) {
    Child child([&] {
        logged_in()();
        (void)::signal(SIGHUP, SIG_IGN);
        must_call(::ioctl(a, TIOCVHANGUP), "TIOCVHANGUP");
    });
    ASSERT_FALSE(child.failed());
    capture_session(child, engine::DeviceAction::replace, false);
    EXPECT_EQ(refused_, "");
    rebuild();
    EXPECT_TRUE(rebuilt_->masters.empty());
    EXPECT_EQ(read(a), "");
    EXPECT_EQ(read(b), "");
}

TEST_F(MachineTerminals, ConsoleThatNobodyRunsOnIsRefused) {
    Child child([&] { put(::open(console_.c_str(), O_RDWR | O_NOCTTY), a); });
    ASSERT_FALSE(child.failed());
    capture(child, true);
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_TRUE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find("the virtual console " + console_.substr(5)), std::string::npos)
        << findings_[0].reason;
}

} // namespace
