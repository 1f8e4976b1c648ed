// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files kept and made again, on real file systems: what the tests of that share.
#pragma once

#include "files/files.h"

#include "disk.h"
#include "engine/os/fd.h"
#include "files/identity.h"
#include "policy/policy.h"

#include <algorithm>
#include <fstream>
#include <optional>

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

namespace abey::test {

// The value, or a failed test that says why not.
template <class T> T must(Result<T> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
    return std::move(*result);
}
inline void must(Result<> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
}
inline std::string why(const Result<> &result) { return result ? "no error" : result.error().message(); }

inline std::string shown(const Fd &fd) { return must(read_link(files::magic_link(fd))); }

inline std::string contents(const Fd &fd) {
    Fd own = must(files::reopen(fd, O_RDONLY));
    return must(read_all(own, 256U << 20U));
}

inline Fd make_file(const std::string &path, std::string_view text) {
    Fd fd = must(open_file(path, O_RDWR | O_CREAT | O_EXCL, 0640));
    must(write_all(fd, text));
    return fd;
}

inline model::Inode identified(engine::FileKeeper &keeper, const Fd &fd) {
    Fd root = must(open_file("/", O_PATH | O_DIRECTORY));
    model::Inode inode = must(keeper.identify(fd, shown(fd), root, false));
    static model::ObjRef last = 0;
    inode.id = ++last;
    return inode;
}

inline std::vector<std::string> listed(const std::string &directory) {
    std::vector<std::string> names;
    for (const auto &entry : std::filesystem::directory_iterator(directory))
        names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
}

inline policy::Policy rules(const std::string &strategies) {
    return must(policy::Policy::parse("[[file]]\nstrategies = [" + strategies + "]\n", "test.toml"));
}

inline const engine::FileUse use{.pid = 1, .comm = "test", .descriptor = 3, .writable = true};

// Runs a test's body on a file system of the wanted type.
class Files : public testing::TestWithParam<std::string> {
  protected:
    // False when there is no such file system here: the test is skipped then.
    bool have_disk(const std::string &type) {
        disk_.emplace(type);
        if (disk_->path().empty())
            return false;
        home_ = disk_->path() + "/home";
        images_ = disk_->base() + "/images";
        ::mkdir(images_.c_str(), 0700);
        ::mkdir(home_.c_str(), 0755);
        return true;
    }
    void TearDown() override { disk_.reset(); }

    std::unique_ptr<engine::FileKeeper> keeper(const policy::Policy &policy, bool keep_running = false) {
        return files::make_keeper(policy, images_, "cp1", keep_running);
    }
    std::unique_ptr<engine::FileOpener> opener() { return files::make_opener(images_); }

    std::optional<test::Disk> disk_;
    std::string home_, images_;
};

#define NEED_DISK(type)                                                                                                \
    if (!have_disk(type))                                                                                              \
    GTEST_SKIP() << disk_->why_not()

// A file with everything that has to come back.
struct Rich {
    static constexpr size_t hole = 4U << 20U;
    // system.posix_acl_access as acl(5) tells it: version 2, then tag, rights and id of each entry, little-endian; the
    // rights of owner, mask and others are those of the mode
    static std::string acl() {
        std::string value("\2\0\0\0", 4);
        auto entry = [&](char tag, char rights, std::string_view id) { value += std::string{tag, 0, rights, 0} += id; };
        constexpr std::string_view no_id = "\xff\xff\xff\xff";
        entry(0x01, 7, no_id);                               // owner
        entry(0x02, 4, std::string_view("\xe9\x03\0\0", 4)); // user 1001
        entry(0x04, 4, no_id);                               // group
        entry(0x10, 5, no_id);                               // mask
        entry(0x20, 1, no_id);                               // others
        return value;
    }
    static Fd make(const std::string &path, int flags = O_CREAT | O_EXCL) {
        Fd fd = must(open_file(path, O_RDWR | flags, 0600));
        must(write_at(fd, std::as_bytes(std::span("begin", 5)), 0));
        must(write_at(fd, std::as_bytes(std::span("middle", 6)), hole));
        EXPECT_EQ(::ftruncate(fd.get(), 2 * hole), 0); // ends in a hole
        EXPECT_EQ(::fchown(fd.get(), 1234, 4321), 0);
        EXPECT_EQ(::fchmod(fd.get(), 06751), 0);
        EXPECT_EQ(::fsetxattr(fd.get(), "trusted.test", "a\0b", 3, 0), 0);
        EXPECT_EQ(::fsetxattr(fd.get(), "system.posix_acl_access", acl().data(), acl().size(), 0), 0);
        struct timespec times[2] = {{1000, 5}, {2000, 7}};
        EXPECT_EQ(::futimens(fd.get(), times), 0);
        return fd;
    }
    static void check(const Fd &fd, const std::string &text) {
        struct stat stat = must(stat_of(fd));
        EXPECT_EQ(stat.st_nlink, 0U);
        EXPECT_EQ(stat.st_uid, 1234U);
        EXPECT_EQ(stat.st_gid, 4321U);
        EXPECT_EQ(stat.st_mode & 07777U, 06751U);
        EXPECT_EQ(stat.st_mtim.tv_sec, 2000);
        EXPECT_EQ(stat.st_mtim.tv_nsec, 7);
        EXPECT_EQ(stat.st_atim.tv_sec, 1000);
        EXPECT_EQ(static_cast<size_t>(stat.st_size), 2 * hole);
        EXPECT_LT(static_cast<size_t>(stat.st_blocks) * 512, hole / 2) << "the holes were filled";
        std::string value(16, '\0');
        EXPECT_EQ(::fgetxattr(fd.get(), "trusted.test", value.data(), value.size()), 3);
        EXPECT_EQ(value.substr(0, 3), std::string("a\0b", 3));
        value.resize(256);
        ssize_t size = ::fgetxattr(fd.get(), "system.posix_acl_access", value.data(), value.size());
        EXPECT_EQ(value.substr(0, static_cast<size_t>(std::max<ssize_t>(size, 0))), acl());
        EXPECT_EQ(contents(fd), text);
    }
    static std::string text() {
        std::string whole(2 * hole, '\0');
        whole.replace(0, 5, "begin");
        whole.replace(hole, 6, "middle");
        return whole;
    }
};

} // namespace abey::test
