// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/glob.h"

#include <chrono>

#include <gtest/gtest.h>

using abey::policy::Glob;

namespace {

bool matches(std::string_view pattern, std::string_view path) {
    auto glob = Glob::compile(pattern);
    EXPECT_TRUE(glob) << pattern << ": " << (glob ? "" : glob.error());
    return glob && glob->matches(path);
}

} // namespace

TEST(Glob, MatchesTheWholePath) {
    EXPECT_TRUE(matches("/a/b", "/a/b"));
    EXPECT_FALSE(matches("/a/b", "/a/bc"));
    EXPECT_FALSE(matches("/a/b", "/x/a/b"));
    EXPECT_FALSE(matches("/a/b", "/a"));
    EXPECT_FALSE(matches("/a", ""));
}

TEST(Glob, StarStaysWithinOneName) {
    EXPECT_TRUE(matches("/a/*.log", "/a/x.log"));
    EXPECT_TRUE(matches("/a/*.log", "/a/.log"));
    EXPECT_FALSE(matches("/a/*.log", "/a/b/x.log"));
    EXPECT_TRUE(matches("/*/*", "/a/b"));
    EXPECT_FALSE(matches("/a?b", "/a/b"));
    EXPECT_TRUE(matches("/a?b", "/a\xff"
                                "b"));
}

TEST(Glob, DoubleStarCrossesNames) {
    EXPECT_TRUE(matches("/a/**", "/a/b"));
    EXPECT_TRUE(matches("/a/**", "/a/b/c"));
    EXPECT_FALSE(matches("/a/**", "/a"));
    EXPECT_FALSE(matches("/a/**", "/ab/c"));
    EXPECT_TRUE(matches("/a/**/z", "/a/z"));
    EXPECT_TRUE(matches("/a/**/z", "/a/b/z"));
    EXPECT_TRUE(matches("/a/**/z", "/a/b/c/z"));
    EXPECT_FALSE(matches("/a/**/z", "/a/bz"));
    EXPECT_TRUE(matches("**/z", "/z"));
    EXPECT_TRUE(matches("**/z", "/a/b/z"));
    EXPECT_FALSE(matches("**/z", "/a/bz"));
    EXPECT_TRUE(matches("**.tmp", "/a/b.tmp"));
    EXPECT_TRUE(matches("**", "/anything/at all"));
}

TEST(Glob, Sets) {
    EXPECT_TRUE(matches("/[abc]", "/b"));
    EXPECT_FALSE(matches("/[abc]", "/d"));
    EXPECT_TRUE(matches("/[a-cx]1", "/x1"));
    EXPECT_FALSE(matches("/[!a-c]", "/b"));
    EXPECT_TRUE(matches("/[!a-c]", "/z"));
    EXPECT_FALSE(matches("/a[!b]c", "/a/c")); // never a slash
    EXPECT_TRUE(matches("/[]]", "/]"));
    EXPECT_TRUE(matches("/[a-]", "/-"));
}

TEST(Glob, TakesBytesAsTheyAre) {
    EXPECT_TRUE(matches("/\\*", "/*"));
    EXPECT_FALSE(matches("/\\*", "/a"));
    EXPECT_TRUE(matches("/a\nb", "/a\nb"));
    EXPECT_TRUE(matches("/*", "/\xc3\x28\n"));
}

TEST(Glob, RefusesMistakes) {
    for (std::string_view pattern : {"", "a", "*", "*/a", "/[a", "/[", "/a\\", "/[z-a]"})
        EXPECT_FALSE(Glob::compile(pattern)) << pattern;
    EXPECT_FALSE(Glob::compile("/" + std::string(5000, 'a')));
    EXPECT_FALSE(Glob::compile(std::string("/a\0b", 4)));
}

TEST(Glob, NoPatternMakesAPathExpensive) {
    std::string pattern = "/";
    for (int i = 0; i < 100; i++)
        pattern += "*a**a";
    pattern += "b";
    auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(matches(pattern, "/" + std::string(4000, 'a')));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}
