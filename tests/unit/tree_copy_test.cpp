// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A copy of a home, made while its owner changes names in it. Needs rsync.
#include "snapshot/tree_copy.h"

#include "engine/os/fd.h"
#include "snapshot/subvolume.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

Manifest look_at(const std::string &directory) {
    const auto top = open_directory(AT_FDCWD, directory);
    EXPECT_TRUE(top);
    auto found = Manifest::of(*top, directory);
    EXPECT_TRUE(found);
    return std::move(found).value();
}

// rsync found a symbolic link where there was a directory when the home was looked at, and is one again.
TEST(TreeCopy, RemovesNothingBehindALinkOfTheOwners) {
    std::string root = fs::temp_directory_path() / "abeyance-copy-XXXXXX";
    ASSERT_NE(::mkdtemp(root.data()), nullptr);
    const auto home = root + "/home";
    const auto place = root + "/place";
    const auto elsewhere = root + "/elsewhere";
    fs::create_directories(home + "/flip/deep");
    fs::create_directories(elsewhere + "/deep");
    for (const auto *name : {"/gone", "/changed", "/deep/gone"}) {
        ASSERT_TRUE(write_file(home + "/flip" + name, "the owner's"));
        ASSERT_TRUE(write_file(elsewhere + name, "somebody else's"));
    }
    const auto then = look_at(home);
    fs::create_directories(tree_in(place));
    fs::create_directory_symlink(elsewhere, tree_in(place) + "/flip");
    fs::remove(home + "/flip/gone");
    fs::remove_all(home + "/flip/deep");
    ASSERT_TRUE(write_file(home + "/flip/changed", "the owner's, changed"));
    const auto updated = update_tree(TreeKind::rsync, home, then, look_at(home), place);
    EXPECT_TRUE(updated) << updated.error().message();
    for (const auto *name : {"/gone", "/changed", "/deep/gone"})
        EXPECT_EQ(read_file(elsewhere + name).value_or("(gone)"), "somebody else's") << name;
    EXPECT_FALSE(fs::is_symlink(tree_in(place) + "/flip"));
    EXPECT_EQ(read_file(tree_in(place) + "/flip/changed").value_or("(none)"), "the owner's, changed");
    EXPECT_FALSE(fs::exists(tree_in(place) + "/flip/gone"));
    fs::remove_all(root);
}

} // namespace
} // namespace abey::snapshot
