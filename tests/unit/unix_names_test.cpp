// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The names of unix(7) sockets in the file system: whom a restore may disturb there, and what it leaves.
#include "kinds_fixture.h"

#include "engine/rebuild/unix_names.h"

using namespace abey;
using namespace abey::test;

namespace {

constexpr int descriptor = 10;
constexpr uid_t user = 65534;

void listen_at(int fd, const std::string &path) {
    const auto address = must(rebuild::to_address(path));
    must_call(::bind(fd, address.get(), address.size), "bind");
    must_call(::listen(fd, 5), "listen");
}

class UnixNames : public Kinds {
  protected:
    void start_restore() {
        rebuilt_ = std::make_unique<rebuild::Context>(tree_, files_, Fd());
        must(rebuild::fill(*rebuilt_));
    }
    void give_up() { rebuilt_.reset(); } // without finish()

    static std::function<void()> listening(const std::string &path, uid_t owner = 0) {
        return [path, owner] {
            must_call(::dup2(static_cast<int>(must_call(::socket(AF_UNIX, SOCK_STREAM, 0), "socket")), descriptor),
                      "dup2");
            ::close(3);
            listen_at(descriptor, path);
            must_call(::chown(path.c_str(), owner, owner), "chown");
        };
    }

    const Scratch scratch_;
};

TEST_F(UnixNames, InUseIsNotTakenAway) {
    const std::string path = scratch_ / "name";
    Child child(listening(path));
    capture(child); // and it lives on
    rebuilt_ = std::make_unique<rebuild::Context>(tree_, files_, Fd());
    const auto refused = rebuild::fill(*rebuilt_);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find(path + " now"), std::string::npos) << refused.error().message();
    give_up();
    const Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = must(rebuild::to_address(path));
    EXPECT_EQ(::connect(client.get(), address.get(), address.size), 0);
    child.end();

    ASSERT_EQ(::unlink(path.c_str()), 0);
    must(write_file(path, "a file now"));
    rebuilt_ = std::make_unique<rebuild::Context>(tree_, files_, Fd());
    EXPECT_FALSE(rebuild::fill(*rebuilt_));
    EXPECT_EQ(must(read_file(path)), "a file now");
}

TEST_F(UnixNames, GivenUpRestoreLeavesNone) {
    const std::string path = scratch_ / "sub/name";
    ASSERT_EQ(::mkdir((scratch_ / "sub").c_str(), 0700), 0);
    {
        Child child(listening(path));
        capture(child);
    }
    std::filesystem::remove_all(scratch_ / "sub"); // gone with a reboot
    start_restore();
    EXPECT_EQ(::access(path.c_str(), F_OK), 0) << "the directory is made again";
    give_up();
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

// A user may exchange a directory for a link to another, where root could remove what the user cannot.
TEST_F(UnixNames, GivenUpRestoreRemovesNothingForAUserThatTheUserCouldNot) {
    const std::string path = scratch_ / "hers/name";
    ASSERT_EQ(::chmod((scratch_ / "").c_str(), 0755), 0);
    for (const auto *directory : {"hers", "roots"})
        ASSERT_EQ(::mkdir((scratch_ / directory).c_str(), 0755), 0);
    ASSERT_EQ(::chown((scratch_ / "hers").c_str(), user, user), 0);
    {
        Child child(listening(path, user));
        capture(child);
    }
    start_restore();
    const Fd precious(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    listen_at(precious.get(), scratch_ / "roots/name");
    std::filesystem::rename(scratch_ / "hers", scratch_ / "away");
    std::filesystem::create_directory_symlink(scratch_ / "roots", scratch_ / "hers");
    give_up();
    EXPECT_EQ(::access((scratch_ / "roots/name").c_str(), F_OK), 0);
}

} // namespace
