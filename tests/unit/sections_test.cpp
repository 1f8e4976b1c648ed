// SPDX-License-Identifier: LGPL-2.1-or-later
//
// [[user]] and [[session]]: whom they are for, and who that is.
#include "policy/policy.h"

#include "engine/os/fd.h"
#include "engine/os/user.h"

#include <filesystem>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <nss.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

using abey::Result;
using abey::model::Strategy;
using namespace abey::policy;

namespace {

constexpr const char *strict = "[[user]]\ngroups = [\"crowd\"]\nlimits.checkpoints-per-user = 2\n";

std::string error_of(std::string_view text) {
    auto policy = Policy::parse(text, "p.toml");
    return policy ? "no error" : policy.error().message();
}

FileFacts facts(std::string_view path) { return {.path = path, .file_system = EXT4_SUPER_MAGIC}; }

// What a process of its own has to say, in which the user database may be another one.
std::string said_in_a_process(const std::function<std::string()> &say) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0)
        return "no pipe";
    const auto pid = ::fork();
    if (pid == 0) {
        const auto text = say();
        (void)!::write(ends[1], text.data(), text.size());
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string said;
    std::array<char, 4096> buffer{};
    for (ssize_t size = 0; (size = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
        said.append(buffer.data(), static_cast<size_t>(size));
    ::close(ends[0]);
    ::waitpid(pid, nullptr, 0);
    return said;
}

// The process's /etc/group from now on. False: it cannot have one of its own.
bool has_groups(const std::string &text) {
    const auto uid = ::getuid();
    std::string name = testing::TempDir() + "abey-group-XXXXXX";
    const int fd = ::mkstemp(name.data());
    const bool done = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                      ::unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) == 0 &&
                      (uid == 0 || abey::write_file("/proc/self/uid_map", fmt::format("{} {} 1", uid, uid))) &&
                      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                      ::mount(name.c_str(), "/etc/group", nullptr, MS_BIND, nullptr) == 0;
    ::unlink(name.c_str());
    return done;
}

} // namespace

TEST(Sections, AreLaidOverForThoseWhomTheyAreFor) {
    const auto policy = Policy::parse(R"(
[triggers]
on-idle = "checkpoint"
idle-after = "10 min"

[[file]]
path = "/a"
strategy = "embed"

[[session]]
users = ["ada"]
services = ["ssh*"]
triggers.on-idle = "suspend"
[[session.file]]
path = "/a"
strategy = "fail"

[[user]]
names = ["ada", "b*"]
home.provider = "none"
[user.triggers]
on-idle = "nothing"
[[user.file]]
path = "/a"
strategy = "copy"

[[user]]
groups = ["students"]
limits.checkpoints-per-user = 2

[[session]]
units = ["tmux*.scope"]
resume.pids = "namespace"
)",
                                      "p.toml");
    ASSERT_TRUE(policy) << policy.error().message();
    const auto of = [&](const Subject &subject) { return policy->of(subject).value(); };
    const auto first = [](const Policy &one) { return one.choose(facts("/a")).strategies.front(); };

    EXPECT_EQ(policy->service().triggers.on_idle, Act::checkpoint);
    const auto other = of({.user = "carl"});
    EXPECT_EQ(other.service().triggers.on_idle, Act::checkpoint);
    EXPECT_EQ(other.home_provider(), HomeProvider::automatic);
    EXPECT_EQ(first(other), Strategy::embed);

    const auto bob = of({.user = "bob", .groups = {"bob", "students"}});
    EXPECT_EQ(bob.home_provider(), HomeProvider::none);
    EXPECT_EQ(bob.service().triggers.on_idle, Act::nothing);
    EXPECT_EQ(bob.service().triggers.idle_after, 600U) << "what a section does not say stays";
    EXPECT_EQ(bob.service().user_limits.checkpoints, 2U);
    EXPECT_EQ(first(bob), Strategy::copy);
    EXPECT_EQ(bob.choose(facts("/a")).rule, "p.toml:23");

    const auto remote = of({.user = "ada", .is_session = true, .service = "sshd", .tty = "pts/1"});
    EXPECT_EQ(remote.service().triggers.on_idle, Act::suspend) << "a session's section counts more than its user's";
    EXPECT_EQ(remote.home_provider(), HomeProvider::none);
    EXPECT_EQ(first(remote), Strategy::fail);
    EXPECT_EQ(remote.service().user_limits.checkpoints, UserLimits().checkpoints);
    EXPECT_EQ(of({.user = "ada", .is_session = true, .service = "login"}).service().triggers.on_idle, Act::nothing);
    EXPECT_EQ(of({.user = "ada", .service = "sshd"}).service().triggers.on_idle, Act::nothing) << "not of a session";
    EXPECT_EQ(of({.user = "bob", .is_session = true, .service = "sshd"}).pids(), Pids::automatic);
    EXPECT_EQ(of({.user = "bob", .is_session = true, .unit = "tmux-1.scope"}).pids(), Pids::in_namespace);
    EXPECT_EQ(policy->sections().size(), 4U);
    EXPECT_EQ(policy->sections().front(), "[[session]] p.toml:10");
}

TEST(Sections, MistakesAreTold) {
    EXPECT_EQ(error_of("[[user]]\nnames = [\"ada\"]\nhme.provider = \"none\"\n"),
              "p.toml:3:1: unknown key \"hme\" in [[user]], did you mean \"home\"?");
    EXPECT_EQ(error_of("[[user]]\nhome.provider = \"none\"\n"),
              "p.toml:1:1: this [[user]] does not say whom it is for: add \"names\" or \"groups\"");
    EXPECT_EQ(error_of("[[user]]\ngroups = [\"a\"]\nname = [\"ada\"]\n"),
              "p.toml:3:1: unknown key \"name\" in [[user]], did you mean \"names\"?");
    EXPECT_EQ(error_of("[[session]]\nhome.provider = \"none\"\n"),
              "p.toml:1:1: this [[session]] does not say which it is for: add \"users\", \"groups\", \"services\", "
              "\"ttys\" or \"units\"");
    EXPECT_EQ(error_of("[[user]]\nnames = \"ada\"\n[user.home]\nprovder = \"none\"\n"),
              "p.toml:4:1: unknown key \"provder\" in [user.home], did you mean \"provider\"?");
    EXPECT_EQ(error_of("[[user]]\nnames = \"ada\"\nhome = 1\n"),
              "p.toml:3:8: \"home\" is a table, written [user.home]; found an integer");
    EXPECT_EQ(error_of("[[session]]\nttys = \"tty1\"\nfile = 1\n"),
              "p.toml:3:8: \"file\" is an array of tables, each written [[session.file]]; found an integer");
    EXPECT_EQ(error_of("[[user]]\nnames = \"\"\n"), "p.toml:2:9: expected a name, or a pattern for names");
    EXPECT_EQ(error_of("[user]\nnames = \"ada\"\n"),
              "p.toml:1:1: \"user\" is an array of tables, each written [[user]]; found a table");
    EXPECT_EQ(error_of("[[user]]\nnames = \"ada\"\n[[user.session]]\nttys = \"a\"\n"),
              "p.toml:3:8: unknown key \"session\" in [[user]]");
    EXPECT_EQ(error_of("[[user]]\nnames = \"ada\"\n[user.triggers]\nfirst = [\"ada\"]\n"),
              "p.toml:4:1: \"first\" cannot be in [user.triggers]: it is about all users; write it in [triggers]");
    EXPECT_EQ(error_of("[[session]]\nttys = \"a\"\n[session.retention]\ncheckpoints = 1\n"),
              "p.toml:3:1: [session.retention] cannot be: it is about all checkpoints of a user; write it in "
              "[retention] or [user.retention]");
    EXPECT_EQ(error_of("[[session]]\nttys = \"a\"\nlimits.size-per-user = 1\n"),
              "p.toml:3:8: \"size-per-user\" cannot be in [session.limits]: it is about all sessions of a user; write "
              "it in [limits] or [user.limits]");
}

// An entry is as long as its list of members.
TEST(Sections, AreForLargeGroupsToo) {
    const auto said = said_in_a_process([]() -> std::string {
        const auto user = abey::os::user_of(::getuid());
        std::string groups = "crowd:x:54321:" + user->name;
        for (int i = 0; i < 50'000; i++)
            groups += fmt::format(",member-{:05}", i);
        if (!has_groups(groups + "\n"))
            return "skip";
        (void)::__nss_configure_lookup("group", "files");
        const auto policy = Policy::parse(strict, "p.toml")->of(::getuid());
        return policy ? fmt::format("{} checkpoints", policy->service().user_limits.checkpoints)
                      : policy.error().message();
    });
    if (said == "skip")
        GTEST_SKIP() << "no user namespaces here";
    EXPECT_EQ(said, "2 checkpoints");
}

TEST(Sections, AreNotPassedOverWhenNobodyKnowsWhomTheyAreFor) {
    const auto said = said_in_a_process([]() -> std::string {
        (void)::__nss_configure_lookup("passwd", "files");
        (void)abey::policy::subject_of(::getuid()); // nsswitch.conf(5) is read once
        const rlimit none{0, 0};                    // of descriptors: the database cannot be opened
        ::setrlimit(RLIMIT_NOFILE, &none);
        const auto plain = Policy::parse("[limits]\nembed-limit = 1\n", "p.toml")->of(::getuid());
        const auto policy = Policy::parse(strict, "p.toml")->of(::getuid());
        return (plain ? "" : "asked without need; ") + (policy ? "passed over" : policy.error().message());
    });
    EXPECT_TRUE(said.starts_with(fmt::format("user {} cannot be looked up: the user database: ", ::getuid()))) << said;
}

TEST(Sections, NameWhoIsUnknownByNumber) {
    constexpr uid_t nobody_has = 3'999'999'999;
    EXPECT_EQ(subject_of(nobody_has)->user, "3999999999");
    EXPECT_TRUE(subject_of(nobody_has)->groups.empty());
    EXPECT_EQ(subject_of(0)->user, "root");
    EXPECT_EQ(subject_of(0)->groups.front(), "root");
}
