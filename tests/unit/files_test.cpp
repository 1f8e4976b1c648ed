// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What has to come right on each file system.
#include "files_fixture.h"

#include <sys/inotify.h>

using namespace abey;
using namespace abey::test;
using model::Naming;
using model::Strategy;
namespace fs = std::filesystem;

namespace {

class EachFileSystem : public Files {};
INSTANTIATE_TEST_SUITE_P(On, EachFileSystem, testing::Values("btrfs", "ext4", "xfs", "tmpfs"),
                         [](const auto &param) { return param.param; });

class EachLastingFileSystem : public Files {};
INSTANTIATE_TEST_SUITE_P(On, EachLastingFileSystem, testing::Values("btrfs", "ext4", "xfs"),
                         [](const auto &param) { return param.param; });

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

TEST_P(EachFileSystem, GivesAFileNothingThatItHasFromItsDirectoryAlone) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    Fd fd = make_file(home_ + "/data", "data");
    fs::create_directory(home_ + "/directory");
    Fd directory = must(open_file(home_ + "/directory", O_RDONLY | O_DIRECTORY));
    ASSERT_EQ(::fchmod(fd.get(), 0664), 0);
    ASSERT_EQ(::fchmod(directory.get(), 02775), 0);
    fs::remove(home_ + "/data");
    fs::remove(home_ + "/directory");
    model::Inode inode = identified(*keep, fd);
    model::Inode below = identified(*keep, directory);
    must(keep->keep(inode, fd, use));
    must(keep->keep(below, directory, use));
    fd.reset();
    directory.reset();

    const std::string acl = Rich::acl();
    ASSERT_EQ(::setxattr(home_.c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0), 0);
    auto restore = opener();
    Fd again = must(restore->open(inode, O_RDWR));
    Fd made = must(restore->open(below, O_RDONLY | O_DIRECTORY));
    char value[256];
    EXPECT_EQ(::fgetxattr(again.get(), "system.posix_acl_access", value, sizeof value), -1);
    EXPECT_EQ(::fgetxattr(made.get(), "system.posix_acl_access", value, sizeof value), -1);
    EXPECT_EQ(::fgetxattr(made.get(), "system.posix_acl_default", value, sizeof value), -1);
    EXPECT_EQ(must(stat_of(again)).st_mode & 07777, 0664U);
    EXPECT_EQ(must(stat_of(made)).st_mode & 07777, 02775U);
    must(restore->finish(false));
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

    const Fd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    ASSERT_GE(::inotify_add_watch(watch.get(), (home_ + "/data").c_str(), IN_ALL_EVENTS), 0);
    auto restore = opener();
    must(restore->check(inode));
    Fd again = must(restore->open(inode, O_RDWR));
    char event[4096];
    EXPECT_EQ(::read(watch.get(), event, sizeof event), -1) << "somebody could see something happen to it";
    EXPECT_EQ(contents(again), "old");
    EXPECT_EQ(shown(again), home_ + "/data (deleted)");
    EXPECT_EQ(shown(must(files::reopen(again, O_RDONLY))), home_ + "/data (deleted)");
    EXPECT_EQ(must(stat_of(again)).st_nlink, 0U);
    struct stat after = {};
    ASSERT_EQ(::stat((home_ + "/data").c_str(), &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino);
    EXPECT_EQ(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
    EXPECT_EQ(must(read_file(home_ + "/data")), "new");
    EXPECT_EQ(listed(home_), std::vector<std::string>{"data"});
}

TEST_P(EachFileSystem, ShowsThePathThoughADirectoryOfItIsSomethingElseNow) {
    NEED_DISK(GetParam());
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    fs::create_directories(home_ + "/a/b");
    Fd fd = make_file(home_ + "/a/b/data", "x");
    fs::remove_all(home_ + "/a");
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    fd.reset();
    fs::create_directory(home_ + "/elsewhere");
    for (const bool link : {false, true}) {
        if (link)
            fs::create_directory_symlink("elsewhere", home_ + "/a");
        else
            make_file(home_ + "/a", "a file");
        auto restore = opener();
        must(restore->check(inode));
        Fd again = must(restore->open(inode, O_RDWR));
        EXPECT_EQ(shown(again), home_ + "/a/b/data (deleted)");
        EXPECT_EQ(contents(again), "x");
        EXPECT_EQ(listed(home_), (std::vector<std::string>{"a", "elsewhere"}));
        EXPECT_TRUE(listed(home_ + "/elsewhere").empty());
        fs::remove(home_ + "/a");
    }
}

TEST_P(EachFileSystem, DeletedThingsShowTheirPathThoughItIsTaken) {
    NEED_DISK(GetParam());
    policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    const std::string path = home_ + "/thing";
    for (const mode_t type : {S_IFDIR, S_IFIFO, S_IFSOCK}) {
        if (type == S_IFDIR)
            fs::create_directory(path);
        else
            ASSERT_EQ(::mknod(path.c_str(), type | 0640, 0), 0);
        const Fd fd = must(open_file(path, O_PATH));
        fs::remove(path);
        make_file(path, "taken");
        model::Inode inode = identified(*keep, fd);
        must(keep->keep(inode, fd, use));
        auto restore = opener();
        must(restore->check(inode));
        const Fd again = must(restore->open(inode, O_PATH));
        EXPECT_EQ(shown(again), path + " (deleted)");
        EXPECT_EQ(must(stat_of(again)).st_mode & S_IFMT, type);
        EXPECT_EQ(must(read_file(path)), "taken");
        EXPECT_EQ(listed(home_), std::vector<std::string>{"thing"});
        fs::remove(path);
    }
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
