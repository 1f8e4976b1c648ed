// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/colour.h"
#include "ctl/text.h"

#include <cstdlib>
#include <ctime>

#include <gtest/gtest.h>

namespace abey::ctl {
namespace {

TEST(Text, SizesKeepThreeOrFourDigits) {
    EXPECT_EQ(human_size(0), "0 B");
    EXPECT_EQ(human_size(1023), "1023 B");
    EXPECT_EQ(human_size(1024), "1.0 KiB");
    EXPECT_EQ(human_size(1536), "1.5 KiB");
    EXPECT_EQ(human_size((1ULL << 20U) - 1), "1.0 MiB") << "never 1024.0 KiB";
    EXPECT_EQ(human_size(64ULL << 20U), "64.0 MiB");
    EXPECT_EQ(human_size(5ULL << 30U), "5.0 GiB");
    EXPECT_EQ(human_size(UINT64_MAX), "16.0 EiB");
}

TEST(Text, Durations) {
    EXPECT_EQ(human_duration(999), "999 us");
    EXPECT_EQ(human_duration(12'300), "12.3 ms");
    EXPECT_EQ(human_duration(1'500'000), "1.50 s");
    EXPECT_EQ(human_duration(125'000'000), "2 min 5 s");
}

TEST(Text, Ages) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    constexpr uint64_t then = 1'767'268'800'000'000; // 2026-01-01 12:00:00 UTC
    EXPECT_EQ(human_time(then), "Thu 2026-01-01 12:00:00");
    EXPECT_EQ(human_age(then, then + 59'000'000), "Thu 2026-01-01 12:00:00 (59 s ago)");
    EXPECT_EQ(human_age(then, then + 3'599'000'000), "Thu 2026-01-01 12:00:00 (59 min ago)");
    EXPECT_EQ(human_age(then, then + 47ULL * 3'600'000'000), "Thu 2026-01-01 12:00:00 (47 h ago)");
    EXPECT_EQ(human_age(then, then + 72ULL * 3'600'000'000), "Thu 2026-01-01 12:00:00 (3 days ago)");
    EXPECT_EQ(human_age(then, then - 1), "Thu 2026-01-01 12:00:00 (0 s ago)") << "clocks may be set back";
}

TEST(Text, TablesAlignByCharacters) {
    Table table({"NAME", "SIZE"});
    table.align_right(1);
    table.add({"grün", "1"});
    table.add({"x", "1000 KiB"});
    EXPECT_EQ(table.text(), "NAME      SIZE\n"
                            "grün         1\n"
                            "x     1000 KiB\n");
}

TEST(Text, TablesFitIntoTheirRoom) {
    const auto table = [](bool header = true) {
        Table made({"ID", "SESSION", "MARKS"});
        made.allow_cut(1, 4);
        made.allow_cut(2, 6);
        if (!header)
            made.without_header();
        made.add({"20260101-120000-s1", "5001/größer.scope", "pinned, sleep"});
        return made;
    };
    EXPECT_EQ(table().text(60), table().text()) << "as wide as it is";
    EXPECT_EQ(table().text(48), "ID                  SESSION        MARKS\n"
                                "20260101-120000-s1  5001/größer.…  pinned, sleep\n")
        << "the widest that may be";
    EXPECT_EQ(table(false).text(10), "20260101-120000-s1  500…  pinne…\n") << "no narrower than its columns may get";
}

TEST(Text, TablesLeaveColumnsOutThatCanBeMissed) {
    const auto table = [](const std::string &mark) {
        Table made({"ID", "SESSION", "SIZE", "MARKS"});
        made.allow_cut(1, 4);
        made.allow_omission(2);
        made.omit_if_empty(3);
        made.add({"20260101-120000-s1", "5001", "12 MiB", mark});
        return made;
    };
    EXPECT_EQ(table("pinned").text(), "ID                  SESSION  SIZE    MARKS\n"
                                      "20260101-120000-s1  5001     12 MiB  pinned\n");
    EXPECT_EQ(table("").text(), "ID                  SESSION  SIZE\n"
                                "20260101-120000-s1  5001     12 MiB\n")
        << "nothing is in it";
    EXPECT_EQ(table("pinned").text(40), "ID                  SES…  SIZE    MARKS\n"
                                        "20260101-120000-s1  5001  12 MiB  pinned\n")
        << "first it is tried without";
    EXPECT_EQ(table("pinned").text(35), "ID                  SES…  MARKS\n"
                                        "20260101-120000-s1  5001  pinned\n");
}

TEST(Text, TablesAlignWhatIsColoured) {
    Table table({"NAME", "STATE", "SIZE"});
    table.align_right(1);
    table.add({painted(Tone::good, "x", true), painted(Tone::bad, "gone", true), "1"});
    table.add({"longer", "waiting", painted(Tone::faint, "2", true)});
    EXPECT_EQ(table.text(), "NAME      STATE  SIZE\n"
                            "\x1b[32mx\x1b[0m          \x1b[1;31mgone\x1b[0m  1\n"
                            "longer  waiting  \x1b[2m2\x1b[0m\n");
}

TEST(Colour, IsForTerminalsThatKnowItAndPeopleWhoWantIt) {
    EXPECT_TRUE(wants_colour(true, nullptr, "linux"));
    EXPECT_TRUE(wants_colour(true, "", "xterm-256color")) << "an empty NO_COLOR is as none";
    EXPECT_FALSE(wants_colour(false, nullptr, "linux")) << "a pipe, a file";
    EXPECT_FALSE(wants_colour(true, "1", "linux"));
    EXPECT_FALSE(wants_colour(true, nullptr, "dumb"));
    EXPECT_FALSE(wants_colour(true, nullptr, nullptr));
    EXPECT_FALSE(wants_colour(true, nullptr, ""));
}

TEST(Colour, PaintsOrLeavesAsItIs) {
    EXPECT_EQ(painted(Tone::good, "waiting", true), "\x1b[32mwaiting\x1b[0m");
    EXPECT_EQ(painted(Tone::good, "waiting", false), "waiting");
    EXPECT_EQ(painted(Tone::plain, "waiting", true), "waiting");
    EXPECT_EQ(painted(Tone::bad, "", true), "");
    EXPECT_EQ(tone_of("waiting"), Tone::good);
    EXPECT_EQ(tone_of("resumed"), Tone::faint);
    EXPECT_EQ(tone_of("something new"), Tone::warning);
}

TEST(Text, ProgressFillsTheBar) {
    EXPECT_EQ(progress_line("suspend", "freeze", 0), "suspend [........................]   0% freeze");
    EXPECT_EQ(progress_line("suspend", "memory", 50), "suspend [############............]  50% memory");
    EXPECT_EQ(progress_line("suspend", "end", 200), "suspend [########################] 100% end");
}

} // namespace
} // namespace abey::ctl
