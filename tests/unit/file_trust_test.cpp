// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files whose place, name or owner cannot be trusted, and file systems with rules of their own.
#include "files_fixture.h"

using namespace abey;
using namespace abey::test;
using model::Naming;
using model::Strategy;
namespace fs = std::filesystem;

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
    ASSERT_EQ(::chown((home_ + "/sub").c_str(), 42, 1234), 0);
    ASSERT_EQ(::chmod((home_ + "/sub").c_str(), 01777), 0);
    ASSERT_EQ(::setxattr((home_ + "/sub").c_str(), "trusted.test", "abc", 3, 0), 0);
    Fd fd = make_file(home_ + "/sub/state", "abc");
    ASSERT_EQ(::fchown(fd.get(), 1234, 4321), 0);
    const timespec long_ago[2] = {{.tv_sec = 1'000'000, .tv_nsec = 5}, {.tv_sec = 2'000'000, .tv_nsec = 7}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (home_ + "/sub").c_str(), long_ago, 0), 0);
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
        must(restore->settle());
        const auto above = must(stat_of(must(open_file(home_ + "/sub", O_PATH))));
        EXPECT_EQ(above.st_uid, 42U);
        EXPECT_EQ(above.st_gid, 1234U);
        EXPECT_EQ(above.st_mode & 07777, 01777U);
        EXPECT_EQ(above.st_mtim.tv_sec, 2'000'000);
        EXPECT_EQ(above.st_mtim.tv_nsec, 7);
        std::string value(3, '-');
        EXPECT_EQ(::getxattr((home_ + "/sub").c_str(), "trusted.test", value.data(), value.size()), 3);
        EXPECT_EQ(value, "abc");
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
    auto restore = opener();
    must(restore->check(inode));
    EXPECT_EQ(shown(must(restore->open(inode, O_RDWR))), home_ + "/dir/data (deleted)");
    EXPECT_EQ(listed(home_), (std::vector<std::string>{"dir", "other"}));
    // One that is to have its name again cannot.
    inode.naming = Naming::named;
    EXPECT_NE(why(opener()->check(inode)).find("symbolic link"), std::string::npos) << why(opener()->check(inode));
    EXPECT_FALSE(opener()->open(inode, O_RDWR));
    struct stat after = {};
    ASSERT_EQ(::stat((home_ + "/other").c_str(), &after), 0);
    EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}
