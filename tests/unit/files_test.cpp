// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files kept and made again, on real file systems.
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

using namespace abey;
using model::Naming;
using model::Strategy;
namespace fs = std::filesystem;

namespace {

// The value, or a failed test that says why not.
template <class T> T must(Result<T> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
    return std::move(*result);
}
void must(Result<> result) {
    if (!result)
        throw std::runtime_error(result.error().message());
}
std::string why(const Result<> &result) { return result ? "no error" : result.error().message(); }

std::string shown(const Fd &fd) { return must(read_link(files::magic_link(fd))); }

std::string contents(const Fd &fd) {
    Fd own = must(files::reopen(fd, O_RDONLY));
    return must(read_all(own, 256U << 20U));
}

Fd make_file(const std::string &path, std::string_view text) {
    Fd fd = must(open_file(path, O_RDWR | O_CREAT | O_EXCL, 0640));
    must(write_all(fd, text));
    return fd;
}

model::Inode identified(engine::FileKeeper &keeper, const Fd &fd) {
    Fd root = must(open_file("/", O_PATH | O_DIRECTORY));
    model::Inode inode = must(keeper.identify(fd, shown(fd), root));
    static model::ObjRef last = 0;
    inode.id = ++last;
    return inode;
}

std::vector<std::string> listed(const std::string &directory) {
    std::vector<std::string> names;
    for (const auto &entry : fs::directory_iterator(directory))
        names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
}

policy::Policy rules(const std::string &strategies) {
    return must(policy::Policy::parse("[[file]]\nstrategies = [" + strategies + "]\n", "test.toml"));
}

const engine::FileUse use{.pid = 1, .comm = "test", .descriptor = 3, .writable = true};

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

class EachFileSystem : public Files {};
INSTANTIATE_TEST_SUITE_P(On, EachFileSystem, testing::Values("btrfs", "ext4", "tmpfs"),
                         [](const auto &param) { return param.param; });

class EachLastingFileSystem : public Files {};
INSTANTIATE_TEST_SUITE_P(On, EachLastingFileSystem, testing::Values("btrfs", "ext4"),
                         [](const auto &param) { return param.param; });

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

} // namespace

TEST(FileIdentity, ComparesWhatEachFileSystemPromises) {
    model::Inode saved;
    saved.mode = S_IFREG | 0600;
    saved.size = 10;
    saved.mtime = {.seconds = 5, .nanoseconds = 6};
    saved.ctime = {.seconds = 7, .nanoseconds = 8};
    saved.identity = {
        .device = 1, .fsid = 2, .subvolume = 256, .number = 300, .generation = 9, .fs_type = BTRFS_SUPER_MAGIC};
    auto same = [&](auto change, files::Place place = files::Place::same) {
        model::Inode now = saved;
        change(now);
        return !files::difference(saved, now, place);
    };
    EXPECT_TRUE(same([](model::Inode &) {}));
    EXPECT_TRUE(same([](model::Inode &i) { i.identity.device = 99; })) << "a device number lasts until the reboot only";
    EXPECT_TRUE(same([](model::Inode &i) { i.mode = S_IFREG | 0777; }));
    EXPECT_TRUE(same([](model::Inode &i) { i.ctime.seconds = 99; })) << "a link or a chmod makes no other file of it";
    EXPECT_TRUE(same([](model::Inode &i) { i.identity.generation = 0; })) << "not known is not different";
    EXPECT_FALSE(same([](model::Inode &i) { i.identity.generation = 10; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.identity.number = 301; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.identity.fs_type = EXT4_SUPER_MAGIC; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.mode = S_IFDIR; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.size = 11; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.mtime.nanoseconds = 7; }));
    auto elsewhere = [](model::Inode &i) {
        i.identity.subvolume = 257;
        i.identity.fsid = 3;
    };
    EXPECT_FALSE(same([](model::Inode &i) { i.identity.subvolume = 257; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.identity.fsid = 3; }));
    EXPECT_TRUE(same(elsewhere, files::Place::translated));

    saved.identity.fs_type = TMPFS_MAGIC; // numbers start over there, so more must agree
    EXPECT_TRUE(same([](model::Inode &i) { i.identity.fsid = 3; }));
    EXPECT_FALSE(same([](model::Inode &i) { i.ctime.nanoseconds = 9; }));
    saved.mode = S_IFDIR | 0700;
    EXPECT_TRUE(same([](model::Inode &i) { i.identity.number = 301; })) << "/run/user/UID is made anew at each login";
    EXPECT_FALSE(same([](model::Inode &i) { i.uid = 1; }));

    saved.identity.fs_type = BTRFS_SUPER_MAGIC;
    EXPECT_TRUE(same([](model::Inode &i) { i.mtime.seconds = 99; })) << "a directory changes with every file in it";
    EXPECT_FALSE(same([](model::Inode &i) { i.identity.number = 301; }));
    saved.mode = S_IFCHR | 0600;
    saved.rdev = makedev(1, 3);
    EXPECT_TRUE(same([](model::Inode &i) { i.identity.number = 301; })) << "device nodes are made anew at each boot";
    EXPECT_FALSE(same([](model::Inode &i) { i.rdev = makedev(1, 5); }));
    saved.identity.fs_type = PROC_SUPER_MAGIC;
    saved.mode = S_IFREG | 0444;
    EXPECT_TRUE(same([](model::Inode &i) { i.identity.number = 301; }));
}

TEST_P(EachFileSystem, TellsWhereANameStands) {
    NEED_DISK(GetParam());
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);

    Fd plain = make_file(home_ + "/plain", "1");
    EXPECT_EQ(identified(*keep, plain).naming, Naming::named);
    EXPECT_EQ(identified(*keep, plain).path, home_ + "/plain");

    fs::rename(home_ + "/plain", home_ + "/renamed");
    EXPECT_EQ(identified(*keep, plain).naming, Naming::named);
    EXPECT_EQ(identified(*keep, plain).path, home_ + "/renamed");

    fs::remove(home_ + "/renamed");
    EXPECT_EQ(identified(*keep, plain).naming, Naming::deleted);
    EXPECT_EQ(identified(*keep, plain).path, home_ + "/renamed");
    EXPECT_EQ(identified(*keep, plain).links, 0U);

    Fd old = make_file(home_ + "/log", "old");
    Fd over = make_file(home_ + "/log.new", "new");
    fs::rename(home_ + "/log.new", home_ + "/log");
    EXPECT_EQ(identified(*keep, old).naming, Naming::replaced);
    EXPECT_EQ(identified(*keep, old).path, home_ + "/log");
    EXPECT_EQ(identified(*keep, over).naming, Naming::named);

    // names that look like the kernel's own mark
    Fd confusing = make_file(home_ + "/x (deleted)", "real");
    EXPECT_EQ(identified(*keep, confusing).naming, Naming::named);
    EXPECT_EQ(identified(*keep, confusing).path, home_ + "/x (deleted)");
    Fd gone = make_file(home_ + "/x", "gone");
    fs::remove(home_ + "/x");
    EXPECT_EQ(identified(*keep, gone).naming, Naming::deleted); // though "x (deleted)" exists
    EXPECT_EQ(identified(*keep, gone).path, home_ + "/x");
    fs::remove(home_ + "/x (deleted)");
    EXPECT_EQ(identified(*keep, confusing).naming, Naming::deleted);
    EXPECT_EQ(identified(*keep, confusing).path, home_ + "/x (deleted)");

    std::string bytes = home_ + "/a\nb\xff\xfe";
    Fd odd = make_file(bytes, "odd");
    EXPECT_EQ(identified(*keep, odd).path, bytes);
    fs::remove(bytes);
    EXPECT_EQ(identified(*keep, odd).naming, Naming::deleted);
    EXPECT_EQ(identified(*keep, odd).path, bytes);

    Fd unnamed = must(open_file(home_, O_TMPFILE | O_RDWR, 0600));
    EXPECT_EQ(identified(*keep, unnamed).naming, Naming::tmpfile);

    fs::create_directory(home_ + "/dir");
    Fd directory = must(open_file(home_ + "/dir", O_RDONLY | O_DIRECTORY));
    EXPECT_EQ(identified(*keep, directory).naming, Naming::named);
    fs::remove(home_ + "/dir");
    EXPECT_EQ(identified(*keep, directory).naming, Naming::deleted);
}

TEST_P(EachFileSystem, BringsADeletedFileBackFromTheImage) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    Fd fd = Rich::make(home_ + "/data");
    fs::remove(home_ + "/data");
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(must(keep->plan(inode, fd, use)), Strategy::embed);
    EXPECT_FALSE(fs::exists(images_ + "/deleted")) << "a plan changed something";
    ASSERT_EQ(::lseek(fd.get(), 17, SEEK_SET), 17);
    must(keep->keep(inode, fd, use));
    must(keep->sync());
    EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 17) << "the task's position moved";
    EXPECT_EQ(inode.kept.rule, "test.toml:1");
    fd.reset();

    for (int round = 0; round < 2; round++) { // the checkpoint can be used again
        auto restore = opener();
        must(restore->check(inode));
        Fd again = must(restore->open(inode, O_RDWR));
        EXPECT_EQ(shown(again), home_ + "/data (deleted)");
        Rich::check(again, Rich::text());
        EXPECT_EQ(::fcntl(again.get(), F_GETFL) & O_ACCMODE, O_RDWR);
        Fd second = must(restore->open(inode, O_RDONLY | O_APPEND));
        must(write_at(again, std::as_bytes(std::span("BEGIN", 5)), 0));
        EXPECT_EQ(contents(second).substr(0, 5), "BEGIN") << "two open files on one inode became two inodes";
        must(restore->finish(true));
        EXPECT_TRUE(listed(home_).empty());
    }
}

TEST_P(EachFileSystem, NeverTouchesWhatHasTheNameNow) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", "old");
    make_file(home_ + "/new", "new");
    fs::rename(home_ + "/new", home_ + "/data");
    struct stat before = {};
    ASSERT_EQ(::stat((home_ + "/data").c_str(), &before), 0);
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    fd.reset();

    auto restore = opener();
    must(restore->check(inode));
    Fd again = must(restore->open(inode, O_RDWR));
    EXPECT_EQ(contents(again), "old");
    EXPECT_TRUE(shown(again).starts_with(home_ + "/.data.abeyance-")) << shown(again);
    EXPECT_TRUE(shown(again).ends_with(" (deleted)")) << shown(again);
    EXPECT_EQ(must(stat_of(again)).st_nlink, 0U);
    struct stat after = {};
    ASSERT_EQ(::stat((home_ + "/data").c_str(), &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino);
    EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
    EXPECT_EQ(must(read_file(home_ + "/data")), "new");
    EXPECT_EQ(listed(home_), std::vector<std::string>{"data"});
}

TEST_P(EachFileSystem, MakesMissingDirectoriesForAMomentOnly) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    fs::create_directories(home_ + "/a/b");
    Fd fd = make_file(home_ + "/a/b/data", "x");
    fs::remove_all(home_ + "/a");
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(inode.naming, Naming::deleted);
    must(keep->keep(inode, fd, use));
    auto restore = opener();
    must(restore->check(inode));
    Fd again = must(restore->open(inode, O_RDWR));
    EXPECT_EQ(shown(again), home_ + "/a/b/data (deleted)");
    EXPECT_EQ(contents(again), "x");
    EXPECT_TRUE(listed(home_).empty());
}

TEST_P(EachFileSystem, EmptyKeepsSizeAndAttributesOnly) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"empty\"");
    auto keep = keeper(policy);
    Fd fd = Rich::make(home_ + "/cache");
    fs::remove(home_ + "/cache");
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    EXPECT_FALSE(fs::exists(images_ + "/deleted"));
    auto restore = opener();
    must(restore->check(inode));
    Rich::check(must(restore->open(inode, O_RDWR)), std::string(2 * Rich::hole, '\0'));
}

TEST_P(EachFileSystem, AnUnnamedFileCanBeGivenANameAgain) {
    NEED_DISK(GetParam());
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    Fd fd = Rich::make(home_, O_TMPFILE);
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    EXPECT_NE(inode.kept.strategy, Strategy::relink) << "giving it a name would take away that right for good";
    auto restore = opener();
    must(restore->check(inode));
    Fd again = must(restore->open(inode, O_RDWR | O_TMPFILE));
    Rich::check(again, Rich::text());
    EXPECT_EQ(::linkat(again.get(), "", AT_FDCWD, (home_ + "/named").c_str(), AT_EMPTY_PATH), 0);
    ASSERT_EQ(::linkat(fd.get(), "", AT_FDCWD, (home_ + "/the old one").c_str(), AT_EMPTY_PATH), 0);
}

TEST_P(EachFileSystem, MakesDeletedThingsWithoutContentsAgain) {
    NEED_DISK(GetParam());
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    fs::create_directory(home_ + "/dir");
    ASSERT_EQ(::chmod((home_ + "/dir").c_str(), 01750), 0);
    ASSERT_EQ(::mkfifo((home_ + "/fifo").c_str(), 0620), 0);
    ASSERT_EQ(::mknod((home_ + "/null").c_str(), S_IFCHR | 0604, makedev(1, 3)), 0);
    Fd directory = must(open_file(home_ + "/dir", O_RDONLY | O_DIRECTORY));
    Fd fifo = must(open_file(home_ + "/fifo", O_RDWR));
    Fd null = must(open_file(home_ + "/null", O_RDWR));
    for (const char *name : {"/dir", "/fifo", "/null"})
        fs::remove(home_ + name);
    auto restore = opener();
    for (const Fd *fd : {&directory, &fifo, &null}) {
        struct stat before = must(stat_of(*fd));
        std::string path = shown(*fd);
        model::Inode inode = identified(*keep, *fd);
        EXPECT_EQ(must(keep->plan(inode, *fd, use)), Strategy::empty);
        must(keep->keep(inode, *fd, use));
        must(restore->check(inode));
        // a fifo without the other end, which would wait or fail
        Fd again = must(restore->open(inode, fd == &directory ? O_RDONLY | O_DIRECTORY : O_WRONLY));
        struct stat after = must(stat_of(again));
        EXPECT_EQ(after.st_mode, before.st_mode);
        EXPECT_EQ(after.st_rdev, before.st_rdev);
        EXPECT_EQ(after.st_nlink, 0U) << path;
        EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
        EXPECT_EQ(shown(again), path);
        EXPECT_EQ(::fcntl(again.get(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), fd == &directory ? O_RDONLY : O_WRONLY);
    }
    EXPECT_TRUE(listed(home_).empty());
}

TEST_P(EachLastingFileSystem, OpensByNameOnlyWhatIsStillTheSame) {
    NEED_DISK(GetParam());
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", "abc");
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(must(keep->plan(inode, fd, use)), Strategy::none);
    must(keep->keep(inode, fd, use));
    EXPECT_EQ(inode.kept.strategy, Strategy::none);
    auto restore = opener();
    must(restore->check(inode));
    EXPECT_EQ(contents(must(restore->open(inode, O_RDONLY))), "abc");

    auto refused = [&](const std::string &part) {
        auto checked = restore->check(inode);
        EXPECT_NE(why(checked).find(part), std::string::npos) << why(checked);
        EXPECT_NE(why(checked).find("/home/data"), std::string::npos) << why(checked);
        EXPECT_FALSE(restore->open(inode, O_RDONLY));
    };
    must(write_all(fd, "d")); // grew
    refused("its size was 3 and is 4");
    ASSERT_EQ(::ftruncate(fd.get(), 3), 0); // size as before, but written to
    refused("written to");
    struct timespec times[2] = {{inode.atime.seconds, inode.atime.nanoseconds},
                                {inode.mtime.seconds, static_cast<long>(inode.mtime.nanoseconds)}};
    ASSERT_EQ(::futimens(fd.get(), times), 0);
    must(restore->check(inode));

    Fd other = make_file(home_ + "/other", "abc");
    ASSERT_EQ(::futimens(other.get(), times), 0);
    fs::rename(home_ + "/other", home_ + "/data");
    refused("another file has its name");
    fs::remove(home_ + "/data");
    refused("No such file");
    ASSERT_EQ(::mkfifo((home_ + "/data").c_str(), 0600), 0); // opening it would wait for ever
    refused("is a fifo");
}

TEST_P(EachFileSystem, GivesUpWithoutATrace) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"relink\", \"copy\", \"embed\"");
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", "abc");
    fs::remove(home_ + "/data");
    Fd unnamed = must(open_file(home_, O_TMPFILE | O_RDWR, 0600));
    model::Inode inode = identified(*keep, fd);
    model::Inode linked = identified(*keep, unnamed);
    must(keep->keep(inode, fd, use));
    must(keep->keep(linked, unnamed, use));
    if (GetParam() == "tmpfs") {
        EXPECT_EQ(inode.kept.strategy, Strategy::embed);
        EXPECT_TRUE(fs::exists(images_ + "/deleted/1"));
    } else {
        EXPECT_EQ(inode.kept.strategy, Strategy::copy);
        EXPECT_EQ(linked.kept.strategy, Strategy::relink);
        EXPECT_EQ(must(stat_of(unnamed)).st_nlink, 1U);
        EXPECT_TRUE(fs::exists(disk_->path() + "/.abeyance/cp1"));
    }
    EXPECT_EQ(inode.kept.tried.at(0).strategy, Strategy::relink);
    keep->discard();
    EXPECT_EQ(must(stat_of(unnamed)).st_nlink, 0U);
    EXPECT_TRUE(listed(home_).empty());
    EXPECT_TRUE(listed(images_).empty());
    EXPECT_FALSE(fs::exists(disk_->path() + "/.abeyance"));
}

TEST_P(EachFileSystem, RefusesByNameWhatThePolicyRefuses) {
    NEED_DISK(GetParam());
    Fd fd = make_file(home_ + "/se\ncret", "abc");
    fs::remove(home_ + "/se\ncret");
    policy::Policy policy = rules("\"fail\"");
    auto keep = keeper(policy);
    model::Inode inode = identified(*keep, fd);
    auto plan = keep->plan(inode, fd, use);
    ASSERT_FALSE(plan);
    std::string reason = home_ + "/se\\x0acret (deleted) is not to be kept, says the policy; change the rule at "
                                 "test.toml:1, or close the file";
    EXPECT_EQ(plan.error().message(), reason);
    EXPECT_EQ(why(keep->keep(inode, fd, use)), "process 1 (test), descriptor 3: " + reason);

    policy::Policy tight = must(policy::Policy::parse(
        "[limits]\nembed-limit = 2\n[[file]]\nstrategies = [\"relink\", \"embed\"]", "test.toml"));
    auto strict = keeper(tight);
    // data is counted in blocks: make sure that it has some
    must(write_all(fd, std::string(8192, 'x')));
    ASSERT_EQ(::fsync(fd.get()), 0);
    inode = identified(*strict, fd);
    auto refused = strict->plan(inode, fd, use);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("embed-limit allows (2)"), std::string::npos) << refused.error().message();
    EXPECT_NE(refused.error().message().find("relink:"), std::string::npos) << refused.error().message();
    EXPECT_FALSE(fs::exists(images_ + "/deleted"));
}

TEST_F(Files, ReflinkAndCopyAreClonedAndSurviveUntilTheLastUse) {
    NEED_DISK("btrfs");
    for (const char *strategy : {"reflink", "copy"}) {
        policy::Policy policy = rules(fmt::format("\"{}\"", strategy));
        auto keep = keeper(policy);
        Fd fd = Rich::make(home_ + "/data");
        fs::remove(home_ + "/data");
        model::Inode inode = identified(*keep, fd);
        must(keep->keep(inode, fd, use));
        must(keep->sync());
        EXPECT_EQ(policy::strategy_name(inode.kept.strategy), strategy);
        EXPECT_EQ(inode.kept.place, fmt::format("{}/.abeyance/cp1/{}-1", disk_->path(), inode.identity.number));
        fd.reset();
        for (bool last : {false, true}) {
            auto restore = opener();
            must(restore->check(inode));
            Fd again = must(restore->open(inode, O_RDWR));
            EXPECT_EQ(shown(again), home_ + "/data (deleted)");
            Rich::check(again, Rich::text());
            must(write_at(again, std::as_bytes(std::span("BEGIN", 5)), 0));
            must(restore->finish(!last));
            EXPECT_EQ(fs::exists(inode.kept.place), !last);
            EXPECT_TRUE(listed(home_).empty());
        }
        EXPECT_FALSE(fs::exists(disk_->path() + "/.abeyance"));
        EXPECT_FALSE(opener()->check(inode)) << "the kept file is gone, and nobody says so";
    }
}

TEST_F(Files, ReflinkTakesFilesThatAreNotCopiedOnWrite) {
    NEED_DISK("btrfs");
    make_file(home_ + "/nocow", "");
    ASSERT_TRUE(test::run({"chattr", "+C", home_ + "/nocow"}));
    Fd fd = must(open_file(home_ + "/nocow", O_RDWR));
    must(write_all(fd, std::string(100'000, 'n')));
    fs::remove(home_ + "/nocow");
    policy::Policy policy = rules("\"reflink\"");
    auto keep = keeper(policy);
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    EXPECT_EQ(contents(must(opener()->open(inode, O_RDONLY))), std::string(100'000, 'n'));
}

TEST_F(Files, KeepsAMappingWithoutDescriptor) {
    NEED_DISK("btrfs");
    std::string path = home_ + "/mapped";
    int ready[2] = {};
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    pid_t child = ::fork();
    if (child == 0) {
        int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
        ::ftruncate(fd, 8192);
        auto *memory = static_cast<char *>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        ::close(fd);
        ::unlink(path.c_str());
        memory[5000] = 'Z'; // dirty, in the page cache only
        ::write(ready[1], static_cast<const void *>(&memory), sizeof memory);
        ::pause();
        ::_exit(0);
    }
    uint64_t address = 0;
    ASSERT_EQ(::read(ready[0], &address, sizeof address), static_cast<ssize_t>(sizeof address));
    std::string link = fmt::format("/proc/{}/map_files/{:x}-{:x}", child, address, address + 8192);
    policy::Policy policy = rules("\"reflink\"");
    auto keep = keeper(policy);
    model::Inode inode;
    {
        Fd fd = must(open_file(link, O_RDONLY));
        inode = must(keep->identify(fd, must(read_link(link)), Fd()));
        inode.id = 1;
        must(keep->keep(inode, fd, use));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
    std::string expected(8192, '\0');
    expected[5000] = 'Z';
    EXPECT_EQ(contents(must(opener()->open(inode, O_RDWR))), expected);
}

TEST_F(Files, FindsAHardLinkElsewhereOnBtrfs) {
    NEED_DISK("btrfs");
    fs::create_directories(home_ + "/far/away");
    Fd fd = make_file(home_ + "/data", "abc");
    fs::create_hard_link(home_ + "/data", home_ + "/far/away/other");
    fs::remove(home_ + "/data");
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(inode.naming, Naming::moved);
    EXPECT_EQ(inode.path, home_ + "/data");
    EXPECT_EQ(inode.other_path, home_ + "/far/away/other");
    EXPECT_EQ(must(keep->plan(inode, fd, use)), Strategy::none);
    auto restore = opener();
    must(restore->check(inode));
    Fd again = must(restore->open(inode, O_RDWR));
    EXPECT_EQ(shown(again), home_ + "/data (deleted)");
    EXPECT_EQ(must(stat_of(again)).st_ino, inode.identity.number);
    EXPECT_EQ(must(stat_of(again)).st_nlink, 1U);
    EXPECT_EQ(listed(home_), std::vector<std::string>{"far"});
}

TEST_F(Files, RelinksAnInodeWhoseOtherNameCannotBeFound) {
    NEED_DISK("ext4");
    fs::create_directory(home_ + "/far");
    Fd fd = make_file(home_ + "/data", "abc");
    fs::create_hard_link(home_ + "/data", home_ + "/far/other");
    fs::create_hard_link(home_ + "/data", home_ + "/backup");
    fs::remove(home_ + "/data");
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    EXPECT_EQ(identified(*keep, fd).other_path, home_ + "/backup"); // beside it: found
    fs::remove(home_ + "/backup");
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(inode.naming, Naming::deleted);
    EXPECT_EQ(inode.links, 1U);
    {
        auto running = keeper(policy, true);
        model::Inode copy = inode;
        must(running->keep(copy, fd, use));
        EXPECT_EQ(copy.kept.strategy, Strategy::embed) << "a running process could change a linked inode";
        running->discard();
    }
    must(keep->keep(inode, fd, use));
    must(keep->sync());
    ASSERT_EQ(inode.kept.strategy, Strategy::relink);
    fd.reset();

    auto restore = opener();
    must(restore->check(inode));
    Fd again = must(restore->open(inode, O_RDWR));
    EXPECT_EQ(shown(again), home_ + "/data (deleted)");
    EXPECT_EQ(must(stat_of(again)).st_ino, inode.identity.number);
    must(restore->finish(false));
    EXPECT_EQ(must(stat_of(again)).st_nlink, 1U);
    must(write_at(again, std::as_bytes(std::span("ABC", 3)), 0));
    EXPECT_EQ(must(read_file(home_ + "/far/other")), "ABC") << "it was parted from its other name";
    EXPECT_FALSE(fs::exists(disk_->path() + "/.abeyance"));
}

TEST_F(Files, RelinkedFileThatWasChangedSinceIsRefused) {
    NEED_DISK("ext4");
    policy::Policy policy = rules("\"relink\"");
    auto keep = keeper(policy);
    Fd fd = Rich::make(home_, O_TMPFILE);
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    ASSERT_EQ(inode.kept.strategy, Strategy::relink);
    Rich::check(must(opener()->open(inode, O_RDWR)), Rich::text());
    must(write_at(fd, std::as_bytes(std::span("x", 1)), 0));
    EXPECT_NE(why(opener()->check(inode)).find("written to"), std::string::npos) << why(opener()->check(inode));
}

TEST_F(Files, KnowsOverlaysWhoseFilesHaveOtherDeviceNumbers) {
    NEED_DISK("ext4");
    test::Disk upper("tmpfs");
    fs::create_directory(home_ + "/dir");
    make_file(home_ + "/dir/below", "below");
    for (const char *name : {"/u", "/w"})
        fs::create_directory(upper.path() + name);
    std::string top = disk_->base() + "/overlay";
    fs::create_directory(top);
    auto mount = [&] {
        std::string layers = fmt::format("lowerdir={},upperdir={}/u,workdir={}/w", home_, upper.path(), upper.path());
        ASSERT_EQ(::mount("overlay", top.c_str(), "overlay", 0, layers.c_str()), 0);
    };
    mount();
    policy::Policy policy = rules("\"copy\"");
    auto keep = keeper(policy);
    model::Inode below;
    model::Inode deleted;
    {
        Fd fd = must(open_file(top + "/dir/below", O_RDONLY));
        below = identified(*keep, fd);
        EXPECT_EQ(below.naming, Naming::named);
        Fd own = make_file(top + "/dir/data", "abc");
        fs::remove(top + "/dir/data");
        deleted = identified(*keep, own);
        must(keep->keep(deleted, own, use));
        EXPECT_TRUE(deleted.kept.place.starts_with(top + "/.abeyance/cp1/"));
        must(keep->sync());
        keep.reset(); // it holds directories
    }
    ASSERT_EQ(::umount(top.c_str()), 0);
    mount(); // as after a reboot
    auto restore = opener();
    EXPECT_EQ(why(restore->check(below)), "no error");
    Fd again = must(restore->open(deleted, O_RDWR));
    EXPECT_EQ(contents(again), "abc");
    EXPECT_EQ(shown(again), top + "/dir/data (deleted)");
    must(restore->finish(false));
    EXPECT_FALSE(fs::exists(top + "/.abeyance"));
    again.reset();
    restore.reset();
    ASSERT_EQ(::umount(top.c_str()), 0);
}

TEST_F(Files, TrustsNoAreaThatAUserCouldHavePlanted) {
    NEED_DISK("btrfs");
    policy::Policy policy = rules("\"reflink\", \"embed\"");
    std::string area = disk_->path() + "/.abeyance";
    std::string victim = disk_->base() + "/victim";
    fs::create_directory(victim);
    ASSERT_EQ(::chmod(victim.c_str(), 0700), 0);
    auto strategy = [&] {
        auto keep = keeper(policy);
        Fd fd = make_file(home_ + "/data", "abc");
        fs::remove(home_ + "/data");
        model::Inode inode = identified(*keep, fd);
        Strategy planned = must(keep->plan(inode, fd, use));
        must(keep->keep(inode, fd, use));
        EXPECT_EQ(inode.kept.strategy, planned);
        if (planned == Strategy::embed) {
            EXPECT_EQ(inode.kept.tried.at(0).strategy, Strategy::reflink);
        }
        keep->discard();
        return planned;
    };
    EXPECT_EQ(strategy(), Strategy::reflink);

    fs::create_symlink(victim, area);
    EXPECT_EQ(strategy(), Strategy::embed);
    EXPECT_TRUE(listed(victim).empty());
    fs::remove(area);

    fs::create_directory(area);
    ASSERT_EQ(::chmod(area.c_str(), 0755), 0); // others may look into it
    EXPECT_EQ(strategy(), Strategy::embed);
    ASSERT_EQ(::chmod(area.c_str(), 0700), 0);
    EXPECT_EQ(strategy(), Strategy::reflink); // and is removed with it
    fs::create_directory(area);
    ASSERT_EQ(::chmod(area.c_str(), 0700), 0);
    ASSERT_EQ(::chown(area.c_str(), 1234, 1234), 0); // a user's
    EXPECT_EQ(strategy(), Strategy::embed);
    fs::remove(area);

    std::ofstream(area) << "a file";
    EXPECT_EQ(strategy(), Strategy::embed);
}

TEST_F(Files, UsesTheAreaThatThePolicyNames) {
    NEED_DISK("btrfs");
    auto policy = must(policy::Policy::parse(
        fmt::format("[[area]]\npath = \"**\"\ndirectory = \"{}/kept\"\n[[file]]\nstrategy = \"copy\"", home_),
        "test.toml"));
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", "abc");
    fs::remove(home_ + "/data");
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    EXPECT_TRUE(inode.kept.place.starts_with(home_ + "/kept/cp1/")) << inode.kept.place;
    keep.reset(); // the worker was killed
    must(files::remove_leftovers(images_));
    EXPECT_TRUE(listed(home_).empty());
    must(files::remove_leftovers(images_)); // once more: nothing there, no error
    must(files::remove_leftovers(home_));   // no image either
    must(write_file(images_ + "/deleted/areas", home_ + '\0' + "/etc" + '\0' + "half"));
    make_file(home_ + "/treasure", "abc");
    EXPECT_FALSE(files::remove_leftovers(images_)) << "not directories that only we can have made";
    EXPECT_EQ(listed(home_), std::vector<std::string>{"treasure"});
}

TEST_F(Files, NothingInAnImageIsTrusted) {
    NEED_DISK("btrfs");
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", "abc");
    fs::remove(home_ + "/data");
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    make_file(home_ + "/treasure", "abc");

    auto refused = [&](auto change) {
        model::Inode forged = inode;
        change(forged);
        auto restore = opener();
        EXPECT_FALSE(restore->check(forged));
        EXPECT_FALSE(restore->open(forged, O_RDWR));
        EXPECT_EQ(why(restore->finish(false)).find("cannot remove"),
                  std::string::npos); // and nothing is removed either
        EXPECT_EQ(listed(home_), std::vector<std::string>{"treasure"});
    };
    refused([](model::Inode &i) { i.kept.blob = "../deleted/1"; });
    refused([](model::Inode &i) { i.kept.blob = "2"; });
    refused([](model::Inode &i) { i.size = 4; });
    refused([](model::Inode &i) { i.path = "relative"; });
    refused([&](model::Inode &i) { i.path = home_ + "/../x"; });
    refused([&](model::Inode &i) {
        i.kept.strategy = Strategy::copy;
        i.kept.place = home_ + "/treasure"; // not in a directory that only root can have made
    });
    ASSERT_EQ(::truncate((images_ + "/deleted/1").c_str(), 2), 0);
    refused([](model::Inode &) {});
}

TEST_F(Files, FollowsTheHomeThroughARollBack) {
    NEED_DISK("btrfs");
    fs::remove(home_);
    ASSERT_TRUE(test::run({"btrfs", "subvolume", "create", home_}));
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    Fd log = make_file(home_ + "/log", "line 1\n");
    Fd deleted = Rich::make(home_ + "/gone");
    fs::remove(home_ + "/gone");
    Fd cwd = must(open_file(home_, O_PATH | O_DIRECTORY));
    model::Inode named = identified(*keep, log);
    model::Inode kept = identified(*keep, deleted);
    model::Inode directory = identified(*keep, cwd);
    must(keep->keep(kept, deleted, use));
    ASSERT_EQ(kept.kept.strategy, Strategy::reflink);
    EXPECT_TRUE(kept.kept.place.starts_with(home_ + "/.abeyance/cp1/")) << "not in the home's own subvolume";
    EXPECT_NE(named.identity.subvolume, 0U);
    must(keep->sync());
    for (Fd *fd : {&log, &deleted, &cwd})
        fd->reset();

    std::string snapshot = disk_->path() + "/snapshot";
    ASSERT_TRUE(test::run({"btrfs", "subvolume", "snapshot", "-r", home_, snapshot}));
    std::ofstream(home_ + "/log", std::ios::trunc) << "someone else's";

    EXPECT_FALSE(opener()->check(named)) << "the live home has changed";
    auto before = files::make_opener(images_, {{.home = home_, .place = snapshot, .displaced = ""}});
    for (const model::Inode *inode : {&named, &kept, &directory})
        EXPECT_EQ(why(before->check(*inode)), "no error");

    std::string displaced = disk_->path() + "/displaced";
    fs::rename(home_, displaced);
    ASSERT_TRUE(test::run({"btrfs", "subvolume", "snapshot", snapshot, home_}));
    EXPECT_FALSE(opener()->check(named)) << "another subvolume, and nobody told it";

    auto restore = files::make_opener(images_, {{.home = home_, .place = home_, .displaced = displaced}});
    Fd again = must(restore->open(named, O_RDWR | O_APPEND));
    EXPECT_EQ(shown(again), home_ + "/log");
    EXPECT_EQ(contents(again), "line 1\n");
    Fd revived = must(restore->open(kept, O_RDWR));
    Rich::check(revived, Rich::text());
    EXPECT_EQ(shown(revived), home_ + "/gone (deleted)");
    EXPECT_EQ(shown(must(restore->open(directory, O_PATH))), home_);
    must(restore->finish(true));
    EXPECT_EQ(listed(home_), std::vector<std::string>{"log"});
    EXPECT_EQ(listed(displaced), std::vector<std::string>{"log"});
    EXPECT_TRUE(fs::exists(snapshot + "/.abeyance")) << "the checkpoint's own copy";
}

TEST_F(Files, SavesNamedFilesOfFileSystemsThatDoNotLast) {
    NEED_DISK("ext4");
    home_ += "/run";
    fs::create_directory(home_);
    ASSERT_EQ(::mount("tmpfs", home_.c_str(), "tmpfs", 0, nullptr), 0);
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    fs::create_directory(home_ + "/sub");
    ASSERT_EQ(::chown((home_ + "/sub").c_str(), 1234, 1234), 0);
    Fd fd = make_file(home_ + "/sub/state", "abc");
    ASSERT_EQ(::fchown(fd.get(), 1234, 4321), 0);
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(inode.naming, Naming::named);
    EXPECT_EQ(must(keep->plan(inode, fd, use)), Strategy::embed);
    must(keep->keep(inode, fd, use));
    {
        auto restore = opener();
        must(restore->check(inode));
        Fd same = must(restore->open(inode, O_RDWR));
        EXPECT_EQ(must(stat_of(same)).st_ino, must(stat_of(fd)).st_ino) << "still there: opened by its name";
    }
    EXPECT_TRUE(fs::exists(home_ + "/sub/state")) << "a file that was not ours was removed";

    must(write_all(fd, "d"));
    EXPECT_FALSE(opener()->check(inode)) << "it was changed since";
    fd.reset();
    fs::remove(home_ + "/sub/state");
    make_file(home_ + "/sub/state", "abc");
    EXPECT_FALSE(opener()->check(inode)) << "another file has the name";
    EXPECT_FALSE(opener()->open(inode, O_RDWR));
    EXPECT_EQ(must(read_file(home_ + "/sub/state")), "abc");

    fs::remove_all(home_ + "/sub"); // as after a reboot
    {
        auto failed = opener();
        must(failed->check(inode));
        Fd made = must(failed->open(inode, O_RDWR));
        EXPECT_TRUE(fs::exists(home_ + "/sub/state"));
    } // never finished: the restore failed
    EXPECT_TRUE(listed(home_).empty());
    {
        auto restore = opener();
        Fd made = must(restore->open(inode, O_RDWR));
        EXPECT_EQ(shown(made), home_ + "/sub/state");
        EXPECT_EQ(contents(made), "abc");
        EXPECT_EQ(must(stat_of(made)).st_nlink, 1U);
        EXPECT_EQ(must(stat_of(made)).st_uid, 1234U);
        EXPECT_EQ(must(stat_of(must(open_file(home_ + "/sub", O_PATH)))).st_uid, 1234U);
        must(restore->finish(false));
    }
    EXPECT_EQ(must(read_file(home_ + "/sub/state")), "abc");

    // the mount is missing: what was in memory must not come to lie on the disk
    ASSERT_EQ(::umount(home_.c_str()), 0);
    EXPECT_NE(why(opener()->check(inode)).find("tmpfs that it was in is not mounted"), std::string::npos)
        << why(opener()->check(inode));
    EXPECT_FALSE(opener()->open(inode, O_RDWR));
    EXPECT_TRUE(listed(home_).empty());
}

TEST_F(Files, SavesNamedFilesThatAreSaidNotToLast) {
    NEED_DISK("btrfs");
    auto policy = must(policy::Policy::parse(fmt::format("[not-lasting]\npaths = \"{}/**\"", home_), "test.toml"));
    auto keep = keeper(policy);
    fs::create_directory(home_ + "/dir");
    Fd directory = must(open_file(home_ + "/dir", O_PATH | O_DIRECTORY));
    Fd fd = make_file(home_ + "/dir/data", "abc");
    model::Inode outer = identified(*keep, directory);
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    must(keep->keep(outer, directory, use));
    EXPECT_EQ(inode.kept.strategy, Strategy::reflink);
    EXPECT_EQ(outer.kept.strategy, Strategy::empty);
    {
        auto restore = opener(); // no reboot: all is still there
        EXPECT_EQ(must(stat_of(must(restore->open(inode, O_RDWR)))).st_ino, inode.identity.number);
    }
    fs::remove_all(home_ + "/dir");
    auto restore = opener();
    must(restore->check(inode));
    must(restore->check(outer));
    Fd again = must(restore->open(inode, O_RDWR));
    EXPECT_EQ(shown(again), home_ + "/dir/data");
    EXPECT_EQ(contents(again), "abc");
    must(restore->finish(false));
    EXPECT_EQ(must(read_file(home_ + "/dir/data")), "abc");
    EXPECT_FALSE(fs::exists(disk_->path() + "/.abeyance"));
}

TEST_F(Files, RefusesFilesOfProcesses) {
    policy::Policy policy = policy::Policy::defaults();
    auto keep = files::make_keeper(policy, "/nonexistent", "cp1");
    Fd own = must(open_file("/proc/self/status", O_RDONLY));
    auto plan = keep->plan(identified(*keep, own), own, use);
    ASSERT_FALSE(plan);
    EXPECT_NE(plan.error().message().find("a file of a process"), std::string::npos) << plan.error().message();
    Fd general = must(open_file("/proc/meminfo", O_RDONLY));
    EXPECT_EQ(must(keep->plan(identified(*keep, general), general, use)), Strategy::none);
}

TEST_F(Files, SaysBeforehandThatThereIsNoSpace) {
    NEED_DISK("tmpfs");
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", std::string(4U << 20U, 'x'));
    fs::remove(home_ + "/data");
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    fd.reset();
    must(opener()->check(inode));
    ASSERT_EQ(::mount("tmpfs", disk_->path().c_str(), "tmpfs", MS_REMOUNT, "size=1m"), 0);
    EXPECT_NE(why(opener()->check(inode)).find("4194304 bytes are needed"), std::string::npos)
        << why(opener()->check(inode));
    EXPECT_FALSE(opener()->open(inode, O_RDWR));
    EXPECT_TRUE(listed(home_).empty());
}

TEST_F(Files, DoesNotFollowALinkThatTookADirectorysPlace) {
    NEED_DISK("ext4");
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    fs::create_directory(home_ + "/dir");
    fs::create_directory(home_ + "/other");
    Fd fd = make_file(home_ + "/dir/data", "abc");
    fs::remove(home_ + "/dir/data");
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    fs::remove(home_ + "/dir");
    fs::create_directory_symlink(home_ + "/other", home_ + "/dir");
    struct stat before = {};
    ASSERT_EQ(::stat((home_ + "/other").c_str(), &before), 0);
    EXPECT_NE(why(opener()->check(inode)).find("symbolic link"), std::string::npos) << why(opener()->check(inode));
    EXPECT_FALSE(opener()->open(inode, O_RDWR));
    struct stat after = {};
    ASSERT_EQ(::stat((home_ + "/other").c_str(), &after), 0);
    EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}
