// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What lies in XDG_RUNTIME_DIR without being held.
#include "files/unheld.h"

#include "files_fixture.h"

#include <set>

using namespace abey;
using namespace abey::test;
namespace fs = std::filesystem;

namespace {

constexpr uint32_t user = 1234;

class UnheldFiles : public Files {
  protected:
    // As logind makes it; each time another file system.
    void mount_runtime() {
        const auto before =
            mounted_ ? must(files::made_when(must(open_file(home_, O_PATH | O_DIRECTORY)))) : model::Time();
        do {
            if (mounted_) {
                ASSERT_EQ(::umount2(home_.c_str(), MNT_DETACH), 0);
            }
            ASSERT_EQ(::mount("tmpfs", home_.c_str(), "tmpfs", 0, "mode=0700,uid=1234,gid=1234"), 0);
            mounted_ = true;
        } while (must(files::made_when(must(open_file(home_, O_PATH | O_DIRECTORY)))) == before);
    }

    void make(const std::string &name, std::string_view text, mode_t mode, uint32_t owner = user) {
        const Fd file = make_file(home_ + "/" + name, text);
        ASSERT_EQ(::fchown(file.get(), owner, owner), 0);
        ASSERT_EQ(::fchmod(file.get(), mode), 0);
    }

    void make_directory(const std::string &name, mode_t mode) {
        const std::string path = home_ + "/" + name;
        ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
        ASSERT_EQ(::chown(path.c_str(), user, user), 0);
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    }

    policy::Policy policy_with(const std::string &more = {}) {
        return must(policy::Policy::parse(
            fmt::format("[runtime-directory]\nkeep = \"{0}/**\"\nleave = \"{0}/systemd\"\n{1}", home_, more),
            "test.toml"));
    }

    std::set<std::string> names(const model::Tree &tree) {
        std::set<std::string> all;
        for (const auto &[id, inode] : tree.inodes)
            all.insert(inode.path.substr(home_.size() + 1));
        return all;
    }

    static void put_back(engine::FileOpener &restore, const model::Tree &tree) {
        for (const auto &[id, inode] : tree.inodes) {
            must(restore.check(inode));
            must(restore.put_back(inode));
        }
    }

    bool mounted_ = false;
};

} // namespace

TEST_F(UnheldFiles, AreThereAgainWhenTheirFileSystemWasMadeAnew) {
    NEED_DISK("ext4");
    mount_runtime();
    make_directory("app", 01750);
    make("app/state", "of the user", 06640);
    ASSERT_EQ(::setxattr((home_ + "/app/state").c_str(), "trusted.test", "abc", 3, 0), 0);
    fs::create_symlink("state", home_ + "/app/link");
    ASSERT_EQ(::lchown((home_ + "/app/link").c_str(), user, user), 0);
    make_directory("empty", 0751);
    make_directory("systemd", 0755);
    make("systemd/unit", "of the manager", 0644);
    make("roots", "of root", 0644, 0);
    make("held", "of the session", 0600);
    ASSERT_EQ(::mkfifo((home_ + "/fifo").c_str(), 0600), 0);
    make_directory("mounted", 0700);
    ASSERT_EQ(::mount("tmpfs", (home_ + "/mounted").c_str(), "tmpfs", 0, "uid=1234"), 0);
    make("mounted/file", "of a server", 0600);

    const auto policy = policy_with();
    auto keep = keeper(policy);
    model::Tree tree;
    const Fd held = must(open_file(home_ + "/held", O_RDONLY));
    const auto inode = identified(*keep, held);
    tree.inodes.emplace(tree.next_id(), inode);
    EXPECT_NE(must(files::keep_unheld(policy, home_, tree, nullptr)).left_out.find("not the user's own"),
              std::string::npos);
    EXPECT_EQ(names(tree), std::set<std::string>{"held"}) << "it was only to be told";
    const auto told = must(files::keep_unheld(policy, home_, tree, keep.get()));
    EXPECT_EQ(told.files, 3U);
    EXPECT_EQ(told.left_out, fmt::format("not kept of what lies in {0}: {0}/roots of 1: not the user's own", home_));
    EXPECT_EQ(names(tree), (std::set<std::string>{"app/link", "app/state", "empty", "held"}));
    tree.inodes.erase(1);
    must(keep->sync());

    fs::remove(home_ + "/app/state");
    put_back(*opener(), tree);
    EXPECT_FALSE(fs::exists(home_ + "/app/state")) << "somebody removed it, and that came back";

    mount_runtime();
    put_back(*opener(), tree);
    EXPECT_TRUE(listed(home_).empty()) << "the resume failed: " << listed(home_).front();

    make("empty", "another's", 0600);
    auto restore = opener();
    put_back(*restore, tree);
    must(restore->settle());
    must(restore->finish(true));
    restore.reset();
    EXPECT_EQ(listed(home_), (std::vector<std::string>{"app", "empty"}));
    EXPECT_EQ(must(read_file(home_ + "/empty")), "another's");
    EXPECT_EQ(must(read_file(home_ + "/app/state")), "of the user");
    EXPECT_EQ(fs::read_symlink(home_ + "/app/link"), "state");
    const auto status_of = [&](const std::string &name) {
        return must(stat_of(must(open_file(home_ + "/" + name, O_PATH | O_NOFOLLOW))));
    };
    EXPECT_EQ(status_of("app/state").st_mode & 07777, 0640U) << "set-id bits are nobody's to give";
    EXPECT_EQ(status_of("app/state").st_uid, user);
    EXPECT_EQ(status_of("app/link").st_uid, user);
    EXPECT_EQ(status_of("app").st_mode & 07777, 01750U);
    EXPECT_EQ(status_of("app").st_uid, user);
    char value = 0;
    EXPECT_EQ(::getxattr((home_ + "/app/state").c_str(), "trusted.test", &value, 1), -1);

    mount_runtime();
    auto again = opener();
    put_back(*again, tree);
    must(again->finish(true));
    EXPECT_EQ(status_of("empty").st_mode & 07777, 0751U);
}

TEST_F(UnheldFiles, AreToldWhenTheyAreTooMany) {
    NEED_DISK("ext4");
    mount_runtime();
    make("a", std::string(8192, 'a'), 0600);
    make("b", "b", 0600);
    make("c", "c", 0600);
    const auto kept = [&](const std::string &limits, const std::set<std::string> &wanted, const std::string &told) {
        const auto policy = policy_with(limits);
        auto keep = keeper(policy);
        model::Tree tree;
        const auto [count, bytes, left] = must(files::keep_unheld(policy, home_, tree, keep.get()));
        EXPECT_EQ(names(tree), wanted);
        EXPECT_EQ(count, wanted.size());
        EXPECT_EQ(bytes >= 8192, wanted.contains("a")) << bytes;
        EXPECT_EQ(left.empty(), told.empty());
        EXPECT_NE(left.find(told), std::string::npos) << left;
        keep->discard();
    };
    kept("", {"a", "b", "c"}, "");
    kept("max-files = 1", {"a"}, home_ + "/b of 2 in all: more than max-files or max-size");
    kept("max-size = 4096", {"b", "c"}, home_ + "/a of 1: more than max-files or max-size");
    kept("max-files = 0", {}, home_ + "/a of 3 in all");
    model::Tree none;
    EXPECT_EQ(must(files::keep_unheld(policy::Policy::defaults(), "/run/user/none", none, nullptr)).left_out, "");
}

TEST_F(UnheldFiles, AreNeverPutWhereNoUserHasADirectoryInMemory) {
    NEED_DISK("ext4");
    mount_runtime();
    make("state", "of the user", 0600);
    const auto policy = policy_with();
    auto keep = keeper(policy);
    model::Tree tree;
    must(files::keep_unheld(policy, home_, tree, keep.get()));
    const auto refused = [&](const model::Inode &inode) {
        const auto back = opener()->put_back(inode);
        EXPECT_FALSE(back) << inode.path;
    };
    ASSERT_EQ(tree.inodes.size(), 1U);
    model::Inode inode = tree.inodes.begin()->second;
    ASSERT_EQ(::umount2(home_.c_str(), MNT_DETACH), 0);
    mounted_ = false;
    refused(inode); // the disk beneath
    EXPECT_TRUE(listed(home_).empty());
    ASSERT_EQ(::mount("tmpfs", home_.c_str(), "tmpfs", 0, "mode=0700,uid=1235"), 0);
    refused(inode); // another user's
    inode.uid = 0;
    refused(inode);
    EXPECT_TRUE(listed(home_).empty());
}
