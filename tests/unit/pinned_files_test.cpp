// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Programs and libraries that are replaced between checkpoint and resume.
#include "files/fingerprint.h"
#include "files_fixture.h"

#include <cstring>

#include <link.h>

namespace abey::test {
namespace {

const engine::FileUse reader{.pid = 1, .comm = "test", .descriptor = -1, .mapping_end = 4096, .mapped = true};

class PinnedFiles : public Files {
  protected:
    policy::Policy pinning(const std::string &strategies) const {
        return must(policy::Policy::parse(
            "[[pin]]\npath = \"" + disk_->path() + "/**\"\nstrategies = [" + strategies + "]\n", "p"));
    }
    // The library, kept as the policy says.
    model::Inode known(const policy::Policy &policy, model::Strategy wanted, const engine::FileUse &by = reader) {
        path_ = home_ + "/libfoo.so";
        install(path_, contents_);
        return taken(policy, wanted, by, "images");
    }
    // A package's file, which is put in place by a rename.
    static void install(const std::string &path, const std::string &text, int64_t mtime = 1'000'000) {
        {
            const Fd made = make_file(path + ".new", text);
            EXPECT_EQ(::fchmod(made.get(), 0755), 0);
            const struct timespec times[2] = {{mtime, 0}, {mtime, 0}};
            EXPECT_EQ(::futimens(made.get(), times), 0);
        }
        ASSERT_EQ(::rename((path + ".new").c_str(), path.c_str()), 0);
    }
    // By a checkpoint, whose image is on the same file system, so that data can be shared.
    model::Inode taken(const policy::Policy &policy, model::Strategy wanted, const engine::FileUse &by,
                       const std::string &images) {
        images_ = disk_->path() + "/" + images;
        EXPECT_EQ(::mkdir(images_.c_str(), 0700), 0);
        const Fd file = must(open_file(path_, O_RDONLY));
        keeper_ = files::make_keeper(policy, images_, "cp1", false, {}, pins());
        auto inode = identified(*keeper_, file);
        EXPECT_EQ(must(keeper_->plan(inode, file, by)), wanted);
        keeper_->fingerprint(inode, file, by);
        must(keeper_->keep(inode, file, by));
        EXPECT_EQ(inode.kept.strategy, wanted);
        must(keeper_->sync());
        return inode;
    }
    [[nodiscard]] std::string pins() const { return disk_->path() + "/pins"; }
    [[nodiscard]] ino_t inode_of_copy(const model::Inode &inode) const {
        return must(stat_of(must(open_file(images_ + "/deleted/" + inode.kept.blob, O_PATH)))).st_ino;
    }
    void upgrade() const {
        (void)make_file(path_ + ".new", "version 2");
        ASSERT_EQ(::rename((path_ + ".new").c_str(), path_.c_str()), 0);
    }
    [[nodiscard]] static std::string best() { return GetParam() == "ext4" ? "\"reflink\", \"copy\"" : "\"reflink\""; }

    const std::string contents_ = std::string(10'000, 'v') + "1";
    std::string path_;
    std::unique_ptr<engine::FileKeeper> keeper_;
};

TEST_P(PinnedFiles, StandInForWhatWasReplaced) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto inode = known(policy, model::Strategy::pin);
    upgrade();
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    const Fd again = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(contents(file), std::string(10'000, 'v') + "1");
    const auto status = must(stat_of(file));
    EXPECT_TRUE(files::is_same_inode(status, must(stat_of(again))));
    EXPECT_EQ(status.st_nlink, 0U);
    EXPECT_EQ(status.st_mode & 07777U, 0755U);
    EXPECT_EQ(must(read_file(path_)), "version 2");
    must(restore->finish(false));
    EXPECT_EQ(listed(home_), std::vector<std::string>{"libfoo.so"});
}

TEST_P(PinnedFiles, AreNotUsedWhenTheFileIsStillTheSame) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto inode = known(policy, model::Strategy::pin);
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(shown(file), path_);
    EXPECT_EQ(must(stat_of(file)).st_nlink, 1U);
    must(restore->finish(false));
    EXPECT_EQ(listed(home_), std::vector<std::string>{"libfoo.so"});
}

TEST_P(PinnedFiles, StandInForWhatIsGone) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto inode = known(policy, model::Strategy::pin);
    ASSERT_EQ(::unlink(path_.c_str()), 0);
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(shown(file), path_ + " (deleted)");
    EXPECT_EQ(contents(file).size(), 10'001U);
    must(restore->finish(true));
    EXPECT_EQ(why(opener()->check(inode)), "no error"); // it can be resumed again
}

TEST_P(PinnedFiles, WithoutACopyTheResumeIsRefused) {
    NEED_DISK(GetParam());
    const auto policy = GetParam() == "ext4" ? pinning("\"reflink\"") : policy::Policy::defaults();
    const auto inode = known(policy, model::Strategy::none);
    EXPECT_EQ(why(opener()->check(inode)), "no error");
    upgrade();
    EXPECT_FALSE(opener()->check(inode));
    EXPECT_FALSE(opener()->open(inode, O_RDONLY));
}

// A package that is installed again brings the same contents in another inode, and perhaps at another time.
TEST_P(PinnedFiles, TheSameContentsInstalledAgainAreTheSameFile) {
    NEED_DISK(GetParam());
    const auto inode = known(policy::Policy::defaults(), model::Strategy::none);
    install(path_, contents_, 2'000'000);
    const auto restore = opener();
    must(restore->check(inode));
    const Fd file = must(restore->open(inode, O_RDONLY));
    EXPECT_EQ(shown(file), path_);
    EXPECT_EQ(must(stat_of(file)).st_nlink, 1U);
    EXPECT_EQ(contents(file), contents_);
}

TEST_P(PinnedFiles, OtherContentsOfTheSameSizeAndTimeAreNot) {
    NEED_DISK(GetParam());
    const auto inode = known(policy::Policy::defaults(), model::Strategy::none);
    install(path_, std::string(10'000, 'v') + "2");
    EXPECT_NE(why(opener()->check(inode)).find("its contents are others"), std::string::npos);
    EXPECT_FALSE(opener()->open(inode, O_RDONLY));
}

TEST_P(PinnedFiles, TheSameContentsOfSomebodyElseAreNot) {
    NEED_DISK(GetParam());
    const auto inode = known(policy::Policy::defaults(), model::Strategy::none);
    install(path_, contents_);
    ASSERT_EQ(::chown(path_.c_str(), 1234, 0), 0);
    EXPECT_NE(why(opener()->check(inode)).find("and belongs to 1234"), std::string::npos);
}

TEST_P(PinnedFiles, WhoCanWriteNeedsTheFileItself) {
    NEED_DISK(GetParam());
    const auto inode = known(policy::Policy::defaults(), model::Strategy::none, use);
    EXPECT_FALSE(inode.content.known);
    install(path_, contents_);
    EXPECT_FALSE(opener()->check(inode));
}

TEST_P(PinnedFiles, LargeOnesGoBySizeAndTime) {
    NEED_DISK(GetParam());
    const auto large = [&](char last, int64_t mtime) {
        {
            const Fd made = make_file(path_ + ".new", "begin");
            must(write_at(made, std::as_bytes(std::span(&last, 1)), files::fingerprint_limit));
            const struct timespec times[2] = {{mtime, 0}, {mtime, 0}};
            EXPECT_EQ(::futimens(made.get(), times), 0);
        }
        EXPECT_EQ(::rename((path_ + ".new").c_str(), path_.c_str()), 0);
    };
    path_ = home_ + "/large";
    large('x', 1000);
    const auto inode = taken(policy::Policy::defaults(), model::Strategy::none, reader, "images");
    EXPECT_TRUE(inode.content.known);
    EXPECT_EQ(inode.content.digest, "");
    large('x', 1000);
    EXPECT_EQ(why(opener()->check(inode)), "no error");
    large('x', 2000);
    EXPECT_NE(why(opener()->check(inode)).find("written to since"), std::string::npos);
}

TEST_P(PinnedFiles, AreStoredOnceForAllCheckpointsAndGoWithTheLast) {
    NEED_DISK(GetParam());
    const auto policy = pinning(best());
    const auto first = known(policy, model::Strategy::pin);
    const auto first_images = images_;
    ASSERT_EQ(listed(pins()).size(), 1U);
    const auto copy = inode_of_copy(first);
    install(path_, contents_, 2'000'000); // once more the same
    const auto second = taken(policy, model::Strategy::pin, reader, "images-2");
    EXPECT_EQ(inode_of_copy(second), copy);
    EXPECT_EQ(listed(pins()).size(), 1U);
    must(files::collect_pins(pins()));
    std::filesystem::remove_all(first_images);
    must(files::collect_pins(pins()));
    ASSERT_EQ(listed(pins()).size(), 1U) << "it is still used";
    upgrade();
    must(opener()->check(second)); // whose image is now the only one
    EXPECT_EQ(contents(must(opener()->open(second, O_RDONLY))), contents_);
    keeper_->discard();
    must(files::collect_pins(pins()));
    EXPECT_TRUE(listed(pins()).empty());
    std::filesystem::remove_all(pins());
    must(files::collect_pins(pins())); // none at all is no error
}

TEST_P(PinnedFiles, AGivenUpCheckpointSharesNothing) {
    NEED_DISK(GetParam());
    path_ = home_ + "/libfoo.so";
    install(path_, contents_);
    images_ = disk_->path() + "/images";
    ASSERT_EQ(::mkdir(images_.c_str(), 0700), 0);
    const auto policy = pinning(best());
    const auto keep = files::make_keeper(policy, images_, "cp1", false, {}, pins());
    const Fd file = must(open_file(path_, O_RDONLY));
    auto inode = identified(*keep, file);
    keep->fingerprint(inode, file, reader);
    must(keep->keep(inode, file, reader));
    keep->discard();
    must(keep->sync());
    EXPECT_FALSE(std::filesystem::exists(pins()));
    EXPECT_TRUE(listed(images_).empty());
}

TEST_P(PinnedFiles, WhatCanBeWrittenIsNone) {
    NEED_DISK(GetParam());
    const auto policy = pinning("\"reflink\", \"copy\"");
    known(policy, model::Strategy::none, use);
}

INSTANTIATE_TEST_SUITE_P(On, PinnedFiles, testing::Values("btrfs", "ext4", "xfs"),
                         [](const auto &each) { return each.param; });

// Compared with the note as the dynamic linker has it in memory.
TEST(BuildId, IsTheOneOfTheLoadedLibrary) {
    struct Library {
        std::string path;
        model::Bytes id;
    } libc;
    ::dl_iterate_phdr(
        [](struct dl_phdr_info *info, size_t, void *data) {
            auto &found = *static_cast<Library *>(data);
            if (std::string_view(info->dlpi_name).find("/libc.so") == std::string_view::npos)
                return 0;
            found.path = info->dlpi_name;
            for (int i = 0; i < info->dlpi_phnum; i++) {
                const auto &header = info->dlpi_phdr[i];
                const std::string_view notes(reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr),
                                             header.p_type == PT_NOTE ? header.p_memsz : 0);
                // a description of 20 bytes, type 3, "GNU"
                const auto at = notes.find(std::string_view("\x14\0\0\0\3\0\0\0GNU\0", 12));
                if (at != std::string_view::npos)
                    found.id = notes.substr(at + 12, 20);
            }
            return 1;
        },
        &libc);
    ASSERT_EQ(libc.id.size(), 20U);
    const Fd file = must(open_file(libc.path, O_RDONLY));
    EXPECT_EQ(files::hex(files::build_id_of(file)), files::hex(libc.id));
    EXPECT_EQ(files::build_id_of(must(open_file("/proc/self/maps", O_RDONLY))), "");
}

TEST(PinRules, AreReadFromThePolicy) {
    const auto policy =
        must(policy::Policy::parse("[[pin]]\npath = \"/usr/local/**\"\nstrategies = []\n"
                                   "[[pin]]\npath = \"/usr/**\"\nstrategies = [\"reflink\", \"copy\"]\n",
                                   "p"));
    EXPECT_TRUE(policy.pin("/usr/local/lib/x").empty());
    EXPECT_EQ(policy.pin("/usr/lib/x"), (std::vector{model::Strategy::reflink, model::Strategy::copy}));
    EXPECT_TRUE(policy.pin("/opt/x").empty());
    for (const std::string wrong : {"path = \"/x\"", "strategies = \"embed\"", "strategies = 1"})
        EXPECT_FALSE(policy::Policy::parse("[[pin]]\n" + wrong + "\n", "p")) << wrong;
}

} // namespace
} // namespace abey::test
