// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/screen.h"

#include <random>

#include <gtest/gtest.h>

namespace abey::session {
namespace {

constexpr WindowSize small = {.rows = 6, .columns = 20};

// Another terminal, in some state of its own, that was shown the picture.
Screen painted(const Screen &original, WindowSize size, std::string_view before = "") {
    Screen other(size);
    other.show(before);
    other.show(original.picture());
    return other;
}

TEST(Screen, LettersWithAccentsOutliveDesignationsOfCharacterSets) {
    Screen screen({24, 80});
    screen.show("\x1b(B\x1b)B\u00e4\x1b)0\u00f6");
    EXPECT_TRUE(screen.picture().contains("\u00e4\u00f6")) << screen.picture();
    Screen again({24, 80});
    again.show(screen.picture());
    EXPECT_TRUE(again.picture().contains("\u00e4\u00f6")) << again.picture();
    again.resize({10, 80});
    EXPECT_TRUE(again.picture().contains("\u00e4\u00f6")) << again.picture();
}

TEST(Screen, ShowsWhatWasWritten) {
    Screen screen(small);
    screen.show("one\r\n\x1b[1;31mtwo\x1b[0m\r\n\x1b[48;2;1;2;3m\xe2\x82\xac\x1b[0m $ ");
    const std::string picture = screen.picture();
    EXPECT_TRUE(picture.contains("\x1b[1;1H\x1b[0mone")) << picture;
    EXPECT_TRUE(picture.contains("\x1b[2;1H\x1b[0;1;31mtwo")) << picture;
    EXPECT_TRUE(picture.contains("\x1b[0;48;2;1;2;3m\xe2\x82\xac")) << picture;
    EXPECT_TRUE(picture.ends_with("\x1b[3;5H")) << picture; // the cursor
}

TEST(Screen, PictureDrawsTheSameInAnyState) {
    Screen screen(small);
    screen.show("left\x1b[3;4Hmiddle\x1b[7m\x1b[?25l\x1b[?1006h\x1b[?1003h\x1b[2;5r\x1b[4;4H");
    for (const char *before : {"", "\x1b[?1049hother", "\x1b[4h\x1b[2;3r\x1b[?6h", "\x1b(0\x1b[?7l\x1b[?1000h",
                               "\x1b[31;42mcolours", "\x1b[3 q\x1b=", "\x1b]0;title"})
        EXPECT_EQ(painted(screen, small, before).picture(), screen.picture()) << before;
}

TEST(Screen, NormalScreenComesBackFromUnderTheAlternateOne) {
    Screen screen(small);
    screen.show("shell $ vim\r\n\x1b[?1049h\x1b[2J\x1b[Hthe editor");
    Screen other = painted(screen, small);
    EXPECT_EQ(other.picture(), screen.picture());
    for (Screen *each : {&screen, &other})
        each->show("\x1b[?1049lshell $ ");
    EXPECT_TRUE(other.picture().contains("shell $ vim"));
    EXPECT_FALSE(other.picture().contains("the editor"));
    EXPECT_EQ(other.picture(), screen.picture());
}

TEST(Screen, SequencesMayBeCutAnywhere) {
    const std::string_view output =
        "a\x1b[?104\x18x\x1b[?1049;25h\x1b]2;t\x1b\\b\x1b(0q\x1b[1;3r\xe2\x82\xac\x1b[2;2H!";
    Screen whole(small);
    whole.show(output);
    Screen cut(small);
    for (const char byte : output)
        cut.show(std::string_view(&byte, 1));
    EXPECT_EQ(cut.picture(), whole.picture());
}

TEST(Screen, ResizeKeepsWhatFits) {
    Screen screen({.rows = 24, .columns = 80});
    screen.show("top\x1b[10;1Hmiddle");
    screen.resize({.rows = 12, .columns = 40});
    EXPECT_TRUE(screen.picture().contains("middle"));
    EXPECT_EQ(painted(screen, {.rows = 12, .columns = 40}).picture(), screen.picture());
    screen.resize({.rows = 0, .columns = 0}); // not known: the usual one
    screen.resize({.rows = 65535, .columns = 65535});
    screen.show("\x1b[65535;65535Hfar away");
    EXPECT_TRUE(screen.picture().contains("middle"));
}

TEST(Screen, AnswersQuestions) {
    Screen screen(small);
    screen.show("ab\x1b[6n");
    EXPECT_EQ(screen.take_answers(), "\x1b[1;3R");
    EXPECT_EQ(screen.take_answers(), "");
    for (int i = 0; i < 100'000; ++i)
        screen.show("\x1b[6n");
    EXPECT_LE(screen.take_answers().size(), 4096U);
    EXPECT_FALSE(screen.picture().contains("\x1b[6n"));
}

// What any mixture of output leaves on the screen, another terminal shows too.
TEST(Screen, PictureOfAnythingIsThatThing) {
    std::mt19937 random(20261123); // NOLINT(cert-msc32-c,cert-msc51-cpp): to be the same in each run
    const auto below = [&](unsigned limit) { return std::uniform_int_distribution<unsigned>(0, limit - 1)(random); };
    constexpr std::array<std::string_view, 30> pieces = {
        "text",        "\r\n",      "\xe2\x82\xac", "\xe4\xbd\xa0\xe5\xa5\xbd",
        "e\xcc\x81",   "\t",        "\b",           "\x1b[?1049h",
        "\x1b[?1049l", "\x1b[?47h", "\x1b[?47l",    "\x1b[2J",
        "\x1b[K",      "\x1b[L",    "\x1b[M",       "\x1b[3P",
        "\x1b[2@",     "\x1b[7m",   "\x1b[0m",      "\x1b[38;5;200m",
        "\x1b[44m",    "\x1b[2;4r", "\x1b[r",       "\x1b[?25l",
        "\x1b[?25h",   "\x1b(0",    "\x1b(B",       "\x1b[?2004h",
        "\x1bM",       "\x1b[4m"};
    for (int round = 0; round < 300; ++round) {
        Screen screen(small);
        std::string output;
        for (unsigned count = below(60); count > 0; --count) {
            if (below(4) == 0)
                output += fmt::format("\x1b[{};{}H", below(8), below(24));
            output += pieces[below(pieces.size())];
        }
        screen.show(output);
        ASSERT_EQ(painted(screen, small).picture(), screen.picture()) << "round " << round;
    }
}

TEST(Screen, TakesAnyBytes) {
    std::mt19937 random(7); // NOLINT(cert-msc32-c,cert-msc51-cpp): to be the same in each run
    std::uniform_int_distribution<int> any(0, 255);
    Screen screen(small);
    for (int i = 0; i < 200'000; ++i) {
        // Half of them where sequences are made.
        const char byte = i % 2 == 0 ? "\x1b[]?;0149hlrPH"[any(random) % 14] : static_cast<char>(any(random));
        screen.show(std::string_view(&byte, 1));
    }
    EXPECT_LT(screen.picture().size(), 100'000U);
}

} // namespace
} // namespace abey::session
