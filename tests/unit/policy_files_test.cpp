// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which files make up the policy, and what is told of mistakes in several of them.
#include "policy/policy.h"

#include "engine/os/fd.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <linux/magic.h>

using abey::model::Strategy;
using namespace abey::policy;
namespace fs = std::filesystem;

namespace {

FileFacts facts(std::string_view path) { return {.path = path, .file_system = EXT4_SUPER_MAGIC}; }

// A directory tree of its own for load_system().
class PolicyFiles : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "abey-policy-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
    }
    void TearDown() override { fs::remove_all(root_); }
    void write(const std::string &path, std::string_view text) {
        fs::create_directories(fs::path(root_ + path).parent_path());
        ASSERT_TRUE(abey::write_file(root_ + path, text));
        ASSERT_EQ(::chmod((root_ + path).c_str(), 0644), 0);
    }
    std::string root_;
};

} // namespace

TEST_F(PolicyFiles, DropInsOverrideTheMainFileInTheOrderOfTheirNames) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only files of root are trusted: run as root";
    write("/usr/lib/abeyance/policy.toml", "[home]\nprovider = \"tar\"\n");
    write("/usr/lib/abeyance/policy.d/10-a.toml", "[limits]\nembed-limit = 1\nembed-total-limit = 1\n");
    write("/usr/lib/abeyance/policy.d/20-b.toml", "[home]\nprovider = \"none\"\n");
    write("/usr/lib/abeyance/policy.d/70-f.toml", "[[file]]\npath='/y'\nstrategy='empty'\n");
    write("/usr/local/lib/abeyance/policy.d/15-d.toml", "[limits]\nembed-limit = 3\n");
    write("/run/abeyance/policy.d/15-d.toml", "[limits]\nembed-limit = 4\n");
    write("/run/abeyance/policy.d/60-e.toml", "[[file]]\npath=['/x', '/y']\nstrategy='fail'\n");
    write("/etc/abeyance/policy.toml", "[limits]\nembed-limit = 2\n[[file]]\npath='/x'\nstrategy='copy'\n");
    write("/etc/abeyance/policy.d/20-b.toml", "[[file]]\npath='/x'\nstrategy='empty'\n");
    write("/etc/abeyance/policy.d/ignored.txt", "not TOML");
    auto policy = Policy::load_system(root_);
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->limits().embed, 4U) << "the main file is the first, /run comes before /usr/local/lib";
    EXPECT_EQ(policy->limits().embed_total, 1U);
    EXPECT_EQ(policy->home_provider(), HomeProvider::automatic) << "/etc masks both of the vendor's";
    EXPECT_EQ(policy->choose(facts("/x")).strategies, std::vector{Strategy::fail}) << "60-e in /run comes after 20-b";
    EXPECT_EQ(policy->choose(facts("/y")).strategies, std::vector{Strategy::empty}) << "and 70-f of the vendor later";

    fs::create_symlink("/dev/null", root_ + "/etc/abeyance/policy.d/10-a.toml");
    fs::create_symlink("/dev/null", root_ + "/run/abeyance/policy.d/70-f.toml");
    policy = Policy::load_system(root_);
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->limits().embed_total, Limits().embed_total);
    EXPECT_EQ(policy->choose(facts("/y")).strategies, std::vector{Strategy::fail});

    fs::remove(root_ + "/etc/abeyance/policy.toml");
    write("/usr/local/lib/abeyance/policy.toml", "[home]\nprovider = \"rsync\"\n");
    EXPECT_EQ(Policy::load_system(root_)->home_provider(), HomeProvider::rsync);
    fs::create_symlink("/dev/null", root_ + "/run/abeyance/policy.toml");
    EXPECT_EQ(Policy::load_system(root_)->home_provider(), HomeProvider::automatic);
}

// As docs/POLICY.md tells: by a link, and lines of one's own that are read later win.
TEST_F(PolicyFiles, ShippedOnesAreSwitchedOnByALink) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only files of root are trusted: run as root";
    const auto shipped = abey::read_file(SOURCE_ROOT "/policy/paranoid.toml");
    ASSERT_TRUE(shipped);
    write("/usr/share/abeyance/policies/paranoid.toml", *shipped);
    fs::create_directories(root_ + "/etc/abeyance/policy.d");
    fs::create_symlink(root_ + "/usr/share/abeyance/policies/paranoid.toml",
                       root_ + "/etc/abeyance/policy.d/20-paranoid.toml");
    write("/etc/abeyance/policy.d/30-own.toml", "[[peer]]\nport = 53\naction = \"reconnect\"\n"
                                                "[home]\non-divergence = \"rollback\"\n");
    const auto policy = Policy::load_system(root_);
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->choose(facts("/home/x")).strategies, (std::vector{Strategy::embed, Strategy::fail}));
    auto linked = facts("/home/x");
    linked.state = FileState::linked;
    EXPECT_EQ(policy->choose(linked).strategies, (std::vector{Strategy::relink, Strategy::fail}));
    EXPECT_EQ(policy->pin("/usr/bin/x"), (std::vector{Strategy::reflink, Strategy::copy}));
    EXPECT_EQ(policy->changed("/var/log/x"), ChangedAction::fail);
    EXPECT_EQ(policy->on_divergence(), OnDivergence::rollback);
    EXPECT_EQ(policy->home_verified(), (HomeVerified{.trees = {"."}, .contents = true}));
    EXPECT_EQ(policy->peer(*abey::os::InetAddress::of("9.9.9.9", 53)).action, abey::model::PeerAction::reconnect);
    EXPECT_EQ(policy->peer(*abey::os::InetAddress::of("9.9.9.9", 443)).action, abey::model::PeerAction::fail);
}

TEST_F(PolicyFiles, RefusesFilesThatOthersCanWrite) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs a file of another user: run as root";
    write("/etc/abeyance/policy.toml", "");
    ASSERT_TRUE(Policy::load_system(root_));
    ASSERT_EQ(::chmod((root_ + "/etc/abeyance/policy.toml").c_str(), 0664), 0);
    EXPECT_FALSE(Policy::load_system(root_));
    ASSERT_EQ(::chmod((root_ + "/etc/abeyance/policy.toml").c_str(), 0644), 0);
    ASSERT_EQ(::chown((root_ + "/etc/abeyance/policy.toml").c_str(), 1, 1), 0);
    EXPECT_FALSE(Policy::load_system(root_));
}

TEST_F(PolicyFiles, HasDefaultsWithoutAnyFileButNeedsTheOneThatIsAskedFor) {
    EXPECT_TRUE(Policy::load_system(root_ + "/nothing"));
    auto missing = Policy::load(root_ + "/missing.toml");
    ASSERT_FALSE(missing);
    EXPECT_NE(missing.error().message().find("missing.toml"), std::string::npos);

    fs::create_directories(root_ + "/etc/abeyance");
    fs::create_symlink(root_ + "/nowhere", root_ + "/etc/abeyance/policy.toml");
    EXPECT_FALSE(Policy::load_system(root_));
}

TEST_F(PolicyFiles, TellsOfAllMistakesOfAllFiles) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only files of root are trusted: run as root";
    write("/etc/abeyance/policy.toml", "[home]\nprovder = \"tar\"\n");
    write("/etc/abeyance/policy.d/10-a.toml", "[home\n");
    write("/etc/abeyance/policy.d/20-b.toml", "[limits]\nembed-limit = \"much\"\n[resume]\npids = \"sam\"\n");
    write("/etc/abeyance/policy.d/30-c.toml", "");
    ASSERT_EQ(::chmod((root_ + "/etc/abeyance/policy.d/30-c.toml").c_str(), 0666), 0);
    const auto mistakes = Policy::examine_system(root_).mistakes;
    std::vector<std::string> places;
    places.reserve(mistakes.size());
    for (const auto &one : mistakes)
        places.push_back(
            fmt::format("{}:{}", one.file.substr(root_.size() + std::string("/etc/abeyance/").size()), one.line));
    EXPECT_EQ(places, (std::vector<std::string>{"policy.toml:2", "policy.d/10-a.toml:1", "policy.d/20-b.toml:2",
                                                "policy.d/20-b.toml:4", "policy.d/30-c.toml:0"}));
    EXPECT_EQ(mistakes.front().key, "provder");
    EXPECT_EQ(mistakes.front().nearest, "provider");
    const auto refused = Policy::load_system(root_);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message(), mistakes.front().text() + " (and 4 more: see `abeyctl policy check`)");
}
