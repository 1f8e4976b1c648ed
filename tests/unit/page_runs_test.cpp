// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/page_runs.h"

#include <gtest/gtest.h>

namespace abey::rebuild {

namespace {

constexpr uint64_t page = 4096;

Runs runs(std::initializer_list<std::array<uint64_t, 3>> pages) {
    Runs made;
    for (const auto &[address, length, offset] : pages)
        made.push_back({address * page, length * page, offset * page});
    return made;
}

std::string shown(const Runs &some) {
    std::string text;
    for (const model::PageRun &run : some)
        text += std::to_string(run.address / page) + "+" + std::to_string(run.length / page) + "@" +
                std::to_string(run.offset / page) + " ";
    return text;
}

} // namespace

TEST(PageRuns, FindsWhatIsAtTheSameAddress) {
    const Runs own = runs({{10, 10, 0}, {30, 5, 10}});
    EXPECT_EQ(shown(part_of(own, runs({{12, 2, 90}, {18, 13, 40}}), Match::address, true)), "12+2@2 18+2@8 30+1@10 ");
    EXPECT_EQ(shown(part_of(own, runs({{12, 2, 90}, {18, 13, 40}}), Match::address, false)), "10+2@0 14+4@4 31+4@11 ");
    EXPECT_EQ(shown(part_of(own, {}, Match::address, true)), "");
    EXPECT_EQ(shown(part_of(own, {}, Match::address, false)), shown(own));
}

TEST(PageRuns, FindsWhatIsTheSamePage) {
    const Runs own = runs({{10, 10, 100}});
    // the first has other contents, the second the same, the third begins earlier and ends later
    EXPECT_EQ(shown(part_of(own, runs({{10, 2, 101}, {13, 2, 103}}), Match::content, true)), "13+2@103 ");
    EXPECT_EQ(shown(part_of(own, runs({{10, 2, 101}, {13, 2, 103}}), Match::content, false)), "10+3@100 15+5@105 ");
    EXPECT_EQ(shown(part_of(own, runs({{5, 20, 95}}), Match::content, true)), "10+10@100 ");
    EXPECT_EQ(shown(part_of(own, runs({{5, 20, 95}}), Match::content, false)), "");
    // an image's offset may be below the address or above it
    EXPECT_EQ(shown(part_of(runs({{10, 4, 0}}), runs({{12, 4, 2}}), Match::content, true)), "12+2@2 ");
}

TEST(PageRuns, OneRunOfTheOtherMatchesSeveral) {
    const Runs own = runs({{1, 1, 7}, {3, 1, 8}, {5, 1, 9}});
    EXPECT_EQ(shown(part_of(own, runs({{0, 4, 50}}), Match::address, true)), "1+1@7 3+1@8 ");
    EXPECT_EQ(shown(part_of(own, runs({{0, 4, 50}}), Match::address, false)), "5+1@9 ");
}

TEST(PageRuns, TheFirstCounts) {
    EXPECT_EQ(shown(united(runs({{10, 2, 0}, {20, 1, 2}}), runs({{8, 3, 50}, {11, 4, 60}}))),
              "8+2@50 10+2@0 12+3@61 20+1@2 ");
    EXPECT_EQ(shown(united({}, runs({{8, 3, 50}}))), "8+3@50 ");
}

} // namespace abey::rebuild
