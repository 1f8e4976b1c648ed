// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The strategies for files without a lasting name, one by one.
#include "files_fixture.h"

using namespace abey;
using namespace abey::test;
using model::Naming;
using model::Strategy;
namespace fs = std::filesystem;

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

TEST_F(Files, PlansForSeveralFilesMustFitTogether) {
    NEED_DISK("ext4");
    const auto lacks = [&](const policy::Policy &policy, const std::string &what) {
        auto keep = keeper(policy);
        std::vector<std::pair<model::Inode, Fd>> held;
        for (const char *name : {"/one", "/two", "/three"}) {
            Fd fd = make_file(home_ + name, std::string(300'000, 'x'));
            fs::remove(home_ + name);
            held.emplace_back(identified(*keep, fd), std::move(fd));
        }
        for (int again = 0; again < 2; ++again) // the same file with another descriptor counts once
            for (size_t i = 0; i < 2; ++i)
                must(keep->plan(held[i].first, held[i].second, use));
        const auto third = keep->plan(held[2].first, held[2].second, use);
        EXPECT_FALSE(third);
        EXPECT_NE(third ? std::string::npos : third.error().message().find(what), std::string::npos)
            << third.error().message();
        // What is carried out is not counted twice.
        for (size_t i = 0; i < 2; ++i)
            must(keep->keep(held[i].first, held[i].second, use));
        keep->discard();
    };
    lacks(must(policy::Policy::parse("[[file]]\nstrategy = \"embed\"\n[limits]\nembed-total-limit = \"700 kB\"\n",
                                     "test.toml")),
          "embed-total-limit");
    // As little room in the store.
    ASSERT_EQ(::mount("tmpfs", images_.c_str(), "tmpfs", 0, "size=700k"), 0);
    lacks(rules("\"embed\""), "bytes are needed");
    ASSERT_EQ(::umount2(images_.c_str(), MNT_DETACH), 0);
}

// Nothing can be named in a subvolume whose quota group is full, not even a clone that takes no space.
TEST_F(Files, AFullQuotaGroupIsKnownBeforehand) {
    NEED_DISK("btrfs");
    Fd fd = make_file(home_ + "/data", std::string(100'000, 'x'));
    fs::remove(home_ + "/data");
    const policy::Policy policy = rules("\"reflink\", \"embed\"");
    const auto planned = [&] {
        auto keep = keeper(policy);
        return must(keep->plan(identified(*keep, fd), fd, use));
    };
    EXPECT_EQ(planned(), Strategy::reflink);
    ASSERT_TRUE(test::run({"btrfs", "quota", "enable", disk_->path()}) &&
                test::run({"btrfs", "quota", "rescan", "-w", disk_->path()}) &&
                test::run({"btrfs", "qgroup", "limit", "16K", disk_->path()}) &&
                test::run({"btrfs", "filesystem", "sync", disk_->path()}));
    EXPECT_EQ(planned(), Strategy::embed);
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

TEST_F(Files, EmbeddedContentsAreDigestedWithTheCopy) {
    NEED_DISK("btrfs");
    Fd fd = Rich::make(home_ + "/sparse");
    must(write_at(fd, std::as_bytes(std::span("over the end of a block", 23)), image::block_size - 10));
    fs::remove(home_ + "/sparse");
    policy::Policy policy = rules("\"embed\"");
    auto keep = keeper(policy);
    model::Inode inode = identified(*keep, fd);
    must(keep->keep(inode, fd, use));
    const auto digests = keep->digests();
    const std::string blob = "deleted/" + inode.kept.blob;
    ASSERT_TRUE(digests.contains(blob));
    Fd copy = must(open_file(images_ + "/" + blob, O_RDONLY));
    EXPECT_EQ(digests.at(blob), must(image::digest_blocks(copy, inode.size)));
    EXPECT_EQ(contents(copy), contents(fd));
    EXPECT_LT(static_cast<size_t>(must(stat_of(copy)).st_blocks) * 512, Rich::hole / 2) << "the holes were filled";
    keep->discard();
    EXPECT_TRUE(keep->digests().empty());
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
        inode = must(keep->identify(fd, must(read_link(link)), Fd(), false));
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

// After a logout nothing of it is there any more, after a restore of a copy all is.
TEST_F(Files, AHardLinkInMemoryStaysOneFileWithItsOtherName) {
    NEED_DISK("tmpfs");
    const std::string directory = home_ + "/dir";
    const std::string other = directory + "/sub/other";
    fs::create_directories(directory + "/sub");
    Fd fd = make_file(home_ + "/data", "abc");
    fs::create_hard_link(home_ + "/data", other);
    fs::remove(home_ + "/data");
    ASSERT_EQ(::chown(directory.c_str(), 1234, 4321), 0);
    ASSERT_EQ(::chmod(directory.c_str(), 02751), 0);
    const policy::Policy policy = policy::Policy::defaults();
    auto keep = keeper(policy);
    model::Inode inode = identified(*keep, fd);
    EXPECT_EQ(inode.naming, Naming::moved);
    EXPECT_EQ(inode.other_path, other);
    must(keep->keep(inode, fd, use));
    EXPECT_EQ(inode.kept.strategy, Strategy::embed);
    const auto one_with = [&](const Fd &again) {
        const auto stat = must(stat_of(again));
        EXPECT_EQ(shown(again), home_ + "/data (deleted)");
        EXPECT_EQ(contents(again), "abc");
        EXPECT_EQ(stat.st_nlink, 1U);
        EXPECT_EQ(stat.st_ino, must(stat_of(must(open_file(other, O_PATH)))).st_ino);
        EXPECT_EQ(listed(home_), std::vector<std::string>{"dir"});
    };
    {
        auto restore = opener();
        must(restore->check(inode));
        Fd again = must(restore->open(inode, O_RDWR));
        one_with(again);
        EXPECT_EQ(must(stat_of(again)).st_ino, inode.identity.number);
        must(restore->finish(true));
    }
    fs::remove_all(directory);
    {
        auto failed = opener();
        one_with(must(failed->open(inode, O_RDWR)));
    } // never finished
    EXPECT_TRUE(listed(home_).empty());
    {
        auto restore = opener();
        must(restore->check(inode));
        one_with(must(restore->open(inode, O_RDWR)));
        const auto made = must(stat_of(must(open_file(directory, O_PATH))));
        EXPECT_EQ(made.st_mode & 07777, 02751U);
        EXPECT_EQ(made.st_uid, 1234U);
        EXPECT_EQ(made.st_gid, 4321U);
        must(restore->finish(true));
    }
    fs::remove(other);
    make_file(other, "another's");
    {
        auto restore = opener();
        Fd again = must(restore->open(inode, O_RDWR));
        EXPECT_EQ(contents(again), "abc");
        EXPECT_EQ(must(stat_of(again)).st_nlink, 0U);
        must(restore->finish(false));
    }
    EXPECT_EQ(must(read_file(other)), "another's");
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
