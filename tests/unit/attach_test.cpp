// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/attach.h"
#include "session/connection.h"
#include "session/keeper/recent_output.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace abey::session {
namespace {

using namespace std::string_literals;

TEST(DetachKey, DetachesAndDropsTheRest) {
    DetachKey key;
    EXPECT_EQ(key.filter("ls\x1c\x04more"), "ls");
    EXPECT_TRUE(key.detached());
    EXPECT_EQ(key.filter("more"), "");
}

TEST(DetachKey, IsSeenAcrossReads) {
    DetachKey key;
    EXPECT_EQ(key.filter("\x1c"), "");
    EXPECT_FALSE(key.detached());
    EXPECT_EQ(key.filter("\x04"), "");
    EXPECT_TRUE(key.detached());
}

TEST(DetachKey, EverythingElseIsSent) {
    DetachKey key;
    EXPECT_EQ(key.filter("\x04"), "\x04");
    EXPECT_EQ(key.filter("\x1c\x1c"), "\x1c");
    EXPECT_EQ(key.filter("\x04"), "\x04");
    EXPECT_EQ(key.filter("\x1cx"), "\x1cx");
    EXPECT_EQ(key.filter("\x1c\x1c\x1cy"), "\x1c\x1cy");
    EXPECT_EQ(key.filter("a\0b"s), "a\0b"s);
    EXPECT_FALSE(key.detached());
}

TEST(SocketPath, TakesIdsOnly) {
    EXPECT_EQ(socket_path("/run/x", "c12").value(), "/run/x/c12.sock");
    for (const char *id : {"", ".", "..", "../1", "1/2", "1.sock", "1 ", "é"})
        EXPECT_EQ(socket_path("/run/x", id).error().code(), ENOENT) << id;
    EXPECT_FALSE(socket_path("/run/x", std::string(200, '1')));
}

TEST(AttachableSessions, NoneWhereThereIsNoDirectory) {
    EXPECT_EQ(attachable_sessions(1, "/nonexistent/sessions").value(), std::vector<std::string>());
    EXPECT_FALSE(terminals_of("1", "/nonexistent/sessions"));
}

TEST(RecentOutput, KeepsTheLastFromALineOn) {
    RecentOutput recent(10);
    EXPECT_EQ(recent.text(), "");
    recent.append("ab\ncd");
    EXPECT_EQ(recent.text(), "ab\ncd");
    recent.append("\nef\ng"); // ten bytes: still all of it
    EXPECT_EQ(recent.text(), "ab\ncd\nef\ng");
    recent.append("h");
    EXPECT_EQ(recent.text(), "cd\nef\ngh");
    recent.append(std::string(50, 'x') + "\n12345");
    EXPECT_EQ(recent.text(), "12345");
    recent.append(std::string(50, 'y'));
    EXPECT_EQ(recent.text(), std::string(10, 'y'));
}

TEST(RecentOutput, IsBounded) {
    RecentOutput recent(100);
    std::string all;
    for (int i = 0; i < 1000; ++i) {
        const std::string line = fmt::format("{}\n", i);
        recent.append(line);
        all += line;
        EXPECT_LE(recent.text().size(), 100U);
        EXPECT_TRUE(all.ends_with(recent.text()));
        EXPECT_GE(recent.text().size(), std::min<size_t>(all.size(), 95));
    }
}

TEST(WithoutQuestions, KeepsWhatDraws) {
    for (const std::string_view drawing : {"plain\r\n", "\x1b[2J\x1b[1;31mred\x1b[0m", "\x1b[?1049h",
                                           "\x1b(B\x1b=", "\x1b[4 q", "\x1b[u", "\x1b[!p", "\x1b[10;20H", "\xc3\xa9"})
        EXPECT_EQ(without_questions(drawing), drawing);
}

TEST(WithoutQuestions, DropsWhatIsAnswered) {
    for (const std::string_view question :
         {"\x1b[c", "\x1b[>c", "\x1b[0c", "\x1b[6n", "\x1b[?6n", "\x1b[18t", "\x1b[?2026$p", "\x1b[>q", "\x1b[?u",
          "\x1bZ", "\x1b]11;?\a", "\x1b]11;?\x1b\\", "\x1bP+q544e\x1b\\", "\x1b_G\x1b\\"})
        EXPECT_EQ(without_questions(fmt::format("a{}b", question)), "ab") << question;
}

TEST(WithoutQuestions, TakesWhatIsCutShort) {
    for (const std::string_view whole : {"\x1b[?2026$p", "\x1b]11;?\x1b\\", "\x1bP+q544e\x1b\\", "\x1b\x1b[c"})
        for (size_t length = 0; length <= whole.size(); ++length)
            EXPECT_LE(without_questions(whole.substr(0, length)).size(), length);
    EXPECT_EQ(without_questions("\x1b]0;title\x1b[31mred"), "\x1b[31mred");
    EXPECT_EQ(without_questions("\x1b[12\nx"), "\x1b[12\nx");
}

} // namespace
} // namespace abey::session
