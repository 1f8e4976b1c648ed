// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/fdinfo.h"

#include <gtest/gtest.h>

namespace abey::capture {
namespace {

TEST(Fdinfo, FindsFields) {
    const std::string_view info = "pos:\t12\nflags:\t0100002\nmnt_id:\t15\nino:\t7\n";
    EXPECT_EQ(info_field(info, "pos"), "12");
    EXPECT_EQ(info_field(info, "ino"), "7");
    EXPECT_EQ(info_field(info, "no"), std::nullopt) << "only at the start of a line";
    EXPECT_EQ(info_field("", "pos"), std::nullopt);
}

TEST(Fdinfo, ParsesLocks) {
    const auto locks = parse_locks("pos:\t0\n"
                                   "lock:\t1: FLOCK  ADVISORY  WRITE 814 08:01:4711 0 EOF\n"
                                   "lock:\t2: POSIX  ADVISORY  READ 814 00:2a:99 100 199\n"
                                   "lock:\t3: OFDLCK ADVISORY  WRITE -1 00:2a:99 5 EOF\n"
                                   "lock:\t4: LEASE  ACTIVE    READ 814 00:2a:99 0 EOF\n");
    ASSERT_TRUE(locks) << locks.error().message();
    ASSERT_EQ(locks->size(), 4U);
    EXPECT_EQ((*locks)[0].kind, model::FileLock::Kind::flock);
    EXPECT_TRUE((*locks)[0].write);
    EXPECT_EQ((*locks)[0].end, ~0ULL);
    EXPECT_EQ((*locks)[1].kind, model::FileLock::Kind::posix);
    EXPECT_FALSE((*locks)[1].write);
    EXPECT_EQ((*locks)[1].start, 100U);
    EXPECT_EQ((*locks)[1].end, 199U);
    EXPECT_EQ((*locks)[2].kind, model::FileLock::Kind::ofd);
    EXPECT_EQ((*locks)[3].kind, model::FileLock::Kind::lease);
}

TEST(Fdinfo, KnowsWhatABrokenLeaseHasBeen) {
    const auto locks = parse_locks("lock:\t1: LEASE  BREAKING  READ 814 00:2a:99 0 EOF\n"
                                   "lock:\t2: LEASE  BREAKING  UNLCK 814 00:2a:99 0 EOF\n");
    ASSERT_TRUE(locks) << locks.error().message();
    EXPECT_TRUE((*locks)[0].breaking);
    EXPECT_TRUE((*locks)[0].write);
    EXPECT_TRUE((*locks)[1].breaking);
    EXPECT_FALSE((*locks)[1].write);
}

TEST(Fdinfo, RefusesLocksItDoesNotKnow) {
    EXPECT_FALSE(parse_locks("lock:\t1: DELEG  ACTIVE    READ 814 00:2a:99 0 EOF\n"));
    EXPECT_FALSE(parse_locks("lock:\t1: FLOCK  ADVISORY  WRITE 814 08:01:4711 0\n"));
    EXPECT_FALSE(parse_locks("lock:\t1: FLOCK  ADVISORY  WRITE 814 08:01:4711 x EOF\n"));
    EXPECT_FALSE(parse_locks("lock:\t1: LEASE  ACTIVE    UNLCK 814 00:2a:99 0 EOF\n"));
}

TEST(Fdinfo, CountsRepeatedEpollNumbers) {
    const auto lines =
        parse_poll_lines("pos:\t0\n"
                         "tfd:        5 events:       19 data:                5  pos:0 ino:41 sdev:f\n"
                         "tfd:        5 events: 80000001 data: ffffffffffffffff  pos:0 ino:2a sdev:f\n"
                         "tfd:        6 events:        4 data:               10  pos:12 ino:43 sdev:f\n");
    ASSERT_TRUE(lines) << lines.error().message();
    ASSERT_EQ(lines->size(), 3U);
    EXPECT_EQ((*lines)[0].number, 5);
    EXPECT_EQ((*lines)[0].events, 0x19U);
    EXPECT_EQ((*lines)[0].inode, 0x41U);
    EXPECT_EQ((*lines)[0].occurrence, 0U);
    EXPECT_EQ((*lines)[1].occurrence, 1U);
    EXPECT_EQ((*lines)[1].data, ~0ULL);
    EXPECT_EQ((*lines)[2].occurrence, 0U);
    EXPECT_FALSE(parse_poll_lines("tfd: what\n"));
}

TEST(Fdinfo, ParsesWatches) {
    const auto lines =
        parse_watch_lines("pos:\t0\n"
                          "inotify wd:1f ino:1a2b sdev:800001 mask:4000100 ignored_mask:0 fhandle-bytes:8 "
                          "fhandle-type:1 f_handle:2b1a0000ff00a501\n"
                          "inotify wd:1 ino:c sdev:15 mask:2 ignored_mask:0\n");
    ASSERT_TRUE(lines) << lines.error().message();
    ASSERT_EQ(lines->size(), 2U);
    EXPECT_EQ((*lines)[0].number, 31);
    EXPECT_EQ((*lines)[0].mask, 0x4000100U);
    EXPECT_EQ((*lines)[0].inode, 0x1a2bU);
    EXPECT_EQ((*lines)[0].device, 0x800001U);
    EXPECT_EQ((*lines)[0].handle_type, 1);
    EXPECT_EQ((*lines)[0].handle, std::string("\x2b\x1a\0\0\xff\0\xa5\x01", 8));
    EXPECT_EQ((*lines)[0].identity, " ino:1a2b sdev:800001 fhandle-bytes:8 fhandle-type:1 f_handle:2b1a0000ff00a501");
    EXPECT_EQ((*lines)[1].handle, "");
    EXPECT_EQ((*lines)[1].identity, " ino:c sdev:15");
    EXPECT_FALSE(parse_watch_lines("inotify wd:what\n"));
    EXPECT_FALSE(parse_watch_lines("inotify wd:1 ino:c sdev:15 mask:2 ignored_mask:0 fhandle-bytes:8 f_handle:xx\n"));
}

TEST(Fdinfo, ParsesMarks) {
    const auto info =
        parse_marks("pos:\t0\nfanotify flags:a03 event-flags:8000\n"
                    "fanotify ino:1a2b sdev:800001 mflags:40 mask:8000008 ignored_mask:20 fhandle-bytes:8 "
                    "fhandle-type:1 f_handle:2b1a0000ff00a501\n"
                    "fanotify mnt_id:1d mflags:0 mask:1000 ignored_mask:0\n"
                    "fanotify sdev:15 mflags:200 mask:400 ignored_mask:1\n");
    ASSERT_TRUE(info) << info.error().message();
    EXPECT_EQ(info->flags, 0xa03U);
    EXPECT_EQ(info->event_flags, 0x8000U);
    ASSERT_EQ(info->marks.size(), 3U);
    const auto &file = info->marks[0];
    EXPECT_EQ(file.kind, 0U);
    EXPECT_EQ(file.flags, 0x40U);
    EXPECT_EQ(file.ignored, 0x20U);
    EXPECT_EQ(file.file.mask, 0x8000008U);
    EXPECT_EQ(file.file.inode, 0x1a2bU);
    EXPECT_EQ(file.file.identity, " ino:1a2b sdev:800001 fhandle-bytes:8 fhandle-type:1 f_handle:2b1a0000ff00a501");
    EXPECT_EQ(file.file.handle, std::string("\x2b\x1a\0\0\xff\0\xa5\x01", 8));
    EXPECT_EQ(info->marks[1].kind, 0x10U); // FAN_MARK_MOUNT
    EXPECT_EQ(info->marks[1].mount, 0x1dU);
    EXPECT_EQ(info->marks[2].kind, 0x100U); // FAN_MARK_FILESYSTEM
    EXPECT_EQ(info->marks[2].file.device, 0x15U);
    EXPECT_EQ(info->marks[2].flags, 0x200U);
    EXPECT_FALSE(parse_marks("fanotify of another kind\n"));
}

TEST(Fdinfo, ParsesTimers) {
    const auto timer = parse_timer("clockid: 1\nticks: 3\nsettime flags: 01\nit_value: (4, 999999999)\n"
                                   "it_interval: (7, 5)\n");
    ASSERT_TRUE(timer) << timer.error().message();
    EXPECT_EQ(timer->clock, 1);
    EXPECT_EQ(timer->ticks, 3U);
    EXPECT_EQ(timer->settime_flags, 1U);
    EXPECT_EQ(timer->value, (model::Time{4, 999999999}));
    EXPECT_EQ(timer->interval, (model::Time{7, 5}));
    EXPECT_FALSE(parse_timer("clockid: 1\nticks: 3\n"));
}

} // namespace
} // namespace abey::capture
