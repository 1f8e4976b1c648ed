// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A text with several mistakes: each is told, and nothing that only follows from one.
#include "policy/rules.h"

#include <gtest/gtest.h>

using namespace abey::policy;

namespace {

// "LINE:COLUMN KEY ~NEAREST" of each.
std::vector<std::string> mistakes_in(std::string_view text) {
    Policy::Rules rules;
    std::vector<std::string> shown;
    for (const auto &one : read_rules(text, "p.toml", rules)) {
        EXPECT_EQ(one.file, "p.toml");
        EXPECT_EQ(one.text(), fmt::format("p.toml:{}:{}: {}", one.line, one.column, one.message));
        shown.push_back(
            fmt::format("{}:{} {}{}{}", one.line, one.column, one.key, one.nearest.empty() ? "" : " ~", one.nearest));
    }
    return shown;
}
using Lines = std::vector<std::string>;

} // namespace

TEST(PolicyMistakes, GoOnWithTheNextKeyAndTable) {
    EXPECT_EQ(mistakes_in("[home]\n"
                          "provider = \"btfs\"\n"
                          "on-divergenc = \"fail\"\n"
                          "verify-contents = 1\n"
                          "[resum]\n"
                          "[[file]]\n"
                          "strateg = \"embed\"\n"
                          "min-size = -1\n"
                          "[[file]]\n"
                          "path = \"/a\"\n"
                          "[[peer]]\n"
                          "action = \"kep\"\n"),
              (Lines{"2:12 provider ~btrfs", "3:1 on-divergenc ~on-divergence", "4:19 verify-contents",
                     "5:2 resum ~resume", "7:1 strateg ~strategy", "8:12 min-size", "9:1 file", "12:10 action ~keep"}));
}

TEST(PolicyMistakes, SayThatSomethingIsMissingOnlyWhereNothingElseIsWrong) {
    EXPECT_EQ(mistakes_in("[[file]]\nstrategy = \"embd\"\n"), (Lines{"2:12 strategy ~embed"}));
    EXPECT_EQ(mistakes_in("[[user]]\nname = \"ada\"\n"), (Lines{"2:1 name ~names"}));
    EXPECT_EQ(mistakes_in("[[user]]\nhome.provider = \"tar\"\n"), (Lines{"1:1 user"}));
    EXPECT_EQ(mistakes_in("[[session]]\nservces = \"login\"\nresume.pid = 1\nretention.max-age = \"1 day\"\n"),
              (Lines{"2:1 servces ~services", "3:8 pid ~pids", "4:1 retention"}));
}

TEST(PolicyMistakes, OfSeveralTheFirstIsTheError) {
    const auto refused = Policy::parse("[home]\nprovidr = 1\n[limits]\nembed-limits = 1\n", "p.toml");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message(), "p.toml:2:1: unknown key \"providr\" in [home], did you mean \"provider\"? "
                                         "(and 1 more: see `abeyctl policy check`)");
}
