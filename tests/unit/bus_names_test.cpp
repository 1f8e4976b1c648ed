// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dbus/names.h"

#include <gtest/gtest.h>

namespace abey::bus {
namespace {

TEST(BusNames, SessionIdsAreLettersAndDigits) {
    for (const auto *id : {"1", "c12", "42"})
        EXPECT_TRUE(is_session_id(id)) << id;
    for (const auto *id :
         {"", "../1", "1/2", "1 2", "session-1.scope", "a\n", "ä", "123456789012345678901234567890123"})
        EXPECT_FALSE(is_session_id(id)) << id;
    EXPECT_FALSE(is_session_id(std::string_view("a\0b", 3)));
}

TEST(BusNames, CheckpointIdsArePlainFileNames) {
    for (const auto *id : {"20260101T120000-ada", "a.b", "x_1"})
        EXPECT_TRUE(is_checkpoint_id(id)) << id;
    for (const auto *id : {"", ".", "..", ".hidden", "a/b", "a b", "a\nb", "ä"})
        EXPECT_FALSE(is_checkpoint_id(id)) << id;
    EXPECT_TRUE(is_checkpoint_id(std::string(128, 'a')));
    EXPECT_FALSE(is_checkpoint_id(std::string(129, 'a')));
}

TEST(BusNames, PathsLeadBackToWhatTheyName) {
    EXPECT_EQ(job_path(17), "/org/abeyance1/job/17");
    EXPECT_EQ(job_number("/org/abeyance1/job/17").value(), 17U);
    for (const auto *path :
         {"/org/abeyance1/job", "/org/abeyance1/job/", "/org/abeyance1/job/0", "/org/abeyance1/job/01",
          "/org/abeyance1/job/1/2", "/org/abeyance1/jobs/1", "/org/abeyance1/job/4294967296", "1"})
        EXPECT_FALSE(job_number(path)) << path;

    const std::string id = "20260101-12.3_a";
    const auto path = checkpoint_path(id);
    EXPECT_EQ(path, "/org/abeyance1/checkpoint/_320260101_2d12_2e3_5fa");
    EXPECT_EQ(checkpoint_id(path).value(), id);
    // "_2e_2e_2f" stands for "../", and "x_78" for an id in a form that is not the one we make
    for (const auto *bad : {"/org/abeyance1/checkpoint", "/org/abeyance1/checkpoint/_2e_2e_2f",
                            "/org/abeyance1/checkpoint/_78", "/org/abeyance1/checkpoint/_", "/org/abeyance1/job/1"})
        EXPECT_FALSE(checkpoint_id(bad)) << bad;
}

TEST(BusText, IsValidAndDoesNotSteerTerminals) {
    EXPECT_EQ(printable("vim"), "vim");
    EXPECT_EQ(shortened("vim\n"), "vim\\x0a");
    EXPECT_EQ(shortened(std::string(1'000'000, 'x')), std::string(64, 'x') + "...");
    EXPECT_EQ(printable("grün €"), "grün €");
    EXPECT_EQ(printable("a\x1b[2Jb\n"), "a\\x1b[2Jb\\x0a");
    EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
    EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80") << "overlong";
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
    EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b") << "C1: CSI";
    EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82") << "cut off";
    EXPECT_EQ(printable("\x7f"), "\\x7f");
}

} // namespace
} // namespace abey::bus
