// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/login_list.h"

#include <filesystem>

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace abey::session {
namespace {

using Names = std::vector<std::string>;

class LoginListTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "abey-logins-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name + "/logins";
    }
    void TearDown() override { std::filesystem::remove_all(std::filesystem::path(directory_).parent_path()); }

    std::string directory_;
};

TEST_F(LoginListTest, IsThereAsLongAsTheKeeper) {
    EXPECT_TRUE(noted_logins(directory_)->empty()) << "nobody has made the directory";
    {
        auto list = LoginList::make("c7", "", directory_);
        ASSERT_TRUE(list) << list.error().message();
        EXPECT_EQ(noted_logins(directory_)->at("c7"), Names());
        const Fd file = list->take();
        ASSERT_TRUE(note_login(file, "3"));
        ASSERT_TRUE(note_login(file, "c12"));
        const auto other = LoginList::make("8", "5", directory_);
        ASSERT_TRUE(other);
        EXPECT_EQ(noted_logins(directory_).value(), (std::map<std::string, Names>{{"8", {"5"}}, {"c7", {"3", "c12"}}}));
        struct stat st = {};
        ASSERT_EQ(::stat(directory_.c_str(), &st), 0);
        EXPECT_EQ(st.st_mode, S_IFDIR | 0700U);
    }
    EXPECT_TRUE(noted_logins(directory_)->empty());
    EXPECT_FALSE(LoginList::make("../x", "", directory_));
    EXPECT_FALSE(LoginList::make("", "", directory_));
}

TEST_F(LoginListTest, TakesNothingButIdsFromWhomeverWritesIt) {
    auto list = LoginList::make("7", "1", directory_);
    ASSERT_TRUE(list);
    const Fd file = list->take();
    EXPECT_FALSE(note_login(file, "a\nb"));
    EXPECT_FALSE(note_login(file, ""));
    ASSERT_TRUE(write_all(file, "\n../../etc\n" + std::string(65, 'x') + "\n2\n\xff\n3"));
    EXPECT_EQ(noted_logins(directory_)->at("7"), Names({"1", "2", "3"}));
    ASSERT_TRUE(write_all(file, "\n" + std::string(3 * login_list_limit, '9')));
    EXPECT_EQ(noted_logins(directory_)->at("7"), Names({"1", "2", "3"})) << "no more is read than the limit";
    std::filesystem::create_symlink("7", directory_ + "/8");
    std::filesystem::create_directory(directory_ + "/9");
    EXPECT_FALSE(noted_logins(directory_)->contains("8"));
    EXPECT_FALSE(noted_logins(directory_)->contains("9"));
    forget_logins("../logins/7", directory_);
    EXPECT_TRUE(noted_logins(directory_)->contains("7"));
    forget_logins("7", directory_);
    EXPECT_FALSE(noted_logins(directory_)->contains("7"));
}

} // namespace
} // namespace abey::session
