// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/mount_table.h"

#include <gtest/gtest.h>
#include <linux/mount.h>

namespace abey::os {
namespace {

constexpr std::string_view text = "40 25 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=1k\n"
                                  "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                                  "41 40 0:22 / /dev/pts rw - devpts devpts rw,mode=600\n"
                                  "42 41 0:23 / /dev/pts ro,noexec,noatime master:7 - tmpfs with\\040space ro\n"
                                  "43 25 8:1 /home/a\\012b /mnt rw unbindable - ext4  rw\n"
                                  "44 42 0:24 / /dev/pts rw shared:3 master:4 - tmpfs none rw\n"
                                  "45 25 0:25 / /de rw - tmpfs none rw\n";

MountTable table() {
    auto parsed = parse_mounts(text);
    EXPECT_TRUE(parsed) << parsed.error().message();
    return parsed.value_or(MountTable());
}

size_t at(const MountTable &table, int id) {
    for (size_t i = 0; i < table.size(); ++i)
        if (table[i].id == id)
            return i;
    return table.size();
}

TEST(MountTable, ParentsComeFirst) {
    const auto all = table();
    ASSERT_EQ(all.size(), 7U);
    EXPECT_EQ(all[0].id, 25);
    for (size_t i = 1; i < all.size(); ++i) {
        EXPECT_LT(all[i].above, i);
        EXPECT_EQ(all[all[i].above].id, all[i].parent);
    }
}

TEST(MountTable, TellsWhatALineSays) {
    const auto all = table();
    const MountLine &shadowed = all[at(all, 42)];
    EXPECT_EQ(shadowed.attributes, uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME});
    EXPECT_EQ(shadowed.master, 7);
    EXPECT_EQ(shadowed.source, "with space");
    EXPECT_EQ(shadowed.options, "ro");
    const MountLine &bound = all[at(all, 43)];
    EXPECT_EQ(bound.root, "/home/a\nb");
    EXPECT_TRUE(bound.unbindable);
    EXPECT_EQ(bound.source, "");
    EXPECT_TRUE(bound.same_file_system(all[0]));
    EXPECT_EQ(all[0].shared, 1);
    EXPECT_EQ(all[0].attributes, uint64_t{MOUNT_ATTR_RELATIME});
    EXPECT_EQ(all[at(all, 44)].shared, 3);
    EXPECT_EQ(all[at(all, 44)].master, 4);
}

TEST(MountTable, KnowsWhatCoversAMount) {
    const auto all = table();
    EXPECT_EQ(level_of(all, at(all, 41)), 0U);
    EXPECT_EQ(level_of(all, at(all, 42)), 1U);
    EXPECT_EQ(level_of(all, at(all, 44)), 2U);
    EXPECT_TRUE(in_the_way(all, at(all, 44)).empty());
    EXPECT_TRUE(in_the_way(all, 0).empty());
    EXPECT_EQ(in_the_way(all, at(all, 42)), std::vector<size_t>{at(all, 44)});
    EXPECT_EQ(in_the_way(all, at(all, 41)), (std::vector<size_t>{at(all, 44), at(all, 42)}));
    EXPECT_TRUE(in_the_way(all, at(all, 40)).empty());
}

TEST(MountTable, RefusesWhatItDoesNotUnderstand) {
    EXPECT_FALSE(parse_mounts("25 1 8:1 / /\n"));
    EXPECT_FALSE(parse_mounts(""));
    EXPECT_FALSE(parse_mounts("25 1 8:1 / / rw - ext4 a rw\n30 29 8:1 / /x rw - ext4 a rw\n"));
}

TEST(MountTable, PathsBelow) {
    EXPECT_EQ(below("/a/b", "/a"), "b");
    EXPECT_EQ(below("/a", "/a"), "");
    EXPECT_EQ(below("/a/b", "/"), "a/b");
    EXPECT_EQ(below("/", "/"), "");
    EXPECT_FALSE(below("/ab", "/a"));
}

} // namespace
} // namespace abey::os
