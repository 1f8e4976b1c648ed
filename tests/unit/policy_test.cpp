// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/policy.h"

#include "policy/file_system.h"
#include "policy/values.h"

#include <gtest/gtest.h>
#include <linux/magic.h>

using abey::Result;
using abey::model::Strategy;
using namespace abey::policy;

namespace {

std::string error_of(std::string_view text) {
    auto policy = Policy::parse(text, "p.toml");
    return policy ? "no error" : policy.error().message();
}

FileFacts facts(std::string_view path, uint64_t size = 0) {
    return {.path = path, .size = size, .file_system = EXT4_SUPER_MAGIC};
}

} // namespace

TEST(Policy, NamesFileLineColumnAndTheWordThatWasMeant) {
    EXPECT_EQ(error_of("[limits]\n\n[[file]]\npath = \"/a\"\n  strateg = \"embed\"\n"),
              "p.toml:5:3: unknown key \"strateg\" in [[file]], did you mean \"strategy\"?");
    EXPECT_EQ(error_of("[home]\nprovider = \"btfs\"\n"),
              "p.toml:2:12: unknown value \"btfs\", did you mean \"btrfs\"?");
    EXPECT_EQ(error_of("[resume]\npids = \"whatever\"\n"),
              "p.toml:2:8: unknown value \"whatever\", expected one of \"auto\", \"same\", \"namespace\"");
    EXPECT_EQ(error_of("[[fil]]\n"), "p.toml:1:3: unknown key \"fil\" in the file, did you mean \"file\"?");
    EXPECT_EQ(error_of("zzzzzzzz = 1\n"), "p.toml:1:1: unknown key \"zzzzzzzz\" in the file");
    EXPECT_EQ(error_of("[[file]]\nstrategies = [\"embed\",\n   \"cpy\"]\n"),
              "p.toml:3:4: unknown value \"cpy\", did you mean \"copy\"?");
}

TEST(Policy, RefusesWrongTypesAndContradictions) {
    EXPECT_EQ(error_of("home = 1"), "p.toml:1:8: \"home\" is a table, written [home]; found an integer");
    EXPECT_EQ(error_of("[file]\npath = \"/a\""),
              "p.toml:1:1: \"file\" is an array of tables, each written [[file]]; found a table");
    EXPECT_EQ(error_of("[[file]]\npath = \"/a\""),
              "p.toml:1:1: this [[file]] does not say what to do: add \"strategy\" or \"strategies\"");
    EXPECT_EQ(error_of("[[file]]\npath = \"a\"\nstrategy = \"embed\""),
              "p.toml:2:8: a pattern is for the whole path, so it begins with \"/\" or \"**\"");
    EXPECT_EQ(error_of("[[file]]\nmin-size = 2\nmax-size = 1\nstrategy = \"embed\""),
              "p.toml:1:1: \"min-size\" is greater than \"max-size\": no file can match");
    EXPECT_EQ(error_of("[[file]]\nstrategies = [\"fail\", \"embed\"]"),
              "p.toml:2:23: \"embed\" would never be tried after \"fail\"");
    EXPECT_EQ(error_of("[[file]]\nstrategies = [\"embed\", \"embed\"]"), "p.toml:2:24: \"embed\" is listed twice");
    EXPECT_EQ(error_of("[[file]]\nstrategies = []"),
              "p.toml:2:14: an empty array: leave the key out, or name at least one");
    EXPECT_EQ(error_of("[[file]]\nwritable = \"yes\"\nstrategy = \"fail\""),
              "p.toml:2:12: expected true or false, found a string");
    EXPECT_EQ(error_of("[[file]]\nfile-system = \"brtfs\"\nstrategy = \"fail\""),
              "p.toml:2:15: unknown file system \"brtfs\", did you mean \"btrfs\"?");
    EXPECT_EQ(error_of("[[area]]\ndirectory = \"../x\""),
              "p.toml:2:13: expected an absolute path without \".\", \"..\" and empty parts, or a plain name");
    EXPECT_EQ(error_of("[limits]\nembed-limit = \"20 EiB\""),
              "p.toml:2:15: a size is a whole number and one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB");
    EXPECT_EQ(error_of("[limits]\nembed-limit = -1"), "p.toml:2:15: a size is not negative");
    EXPECT_TRUE(error_of("a = \n").starts_with("p.toml:1:")) << error_of("a = \n");
    EXPECT_EQ(error_of("a = \n").find('\n'), std::string::npos);
}

TEST(Policy, ReadsSizesWithUnits) {
    auto limit = [](const std::string &size) {
        return Policy::parse("[limits]\nembed-limit = " + size, "p")->limits().embed;
    };
    EXPECT_EQ(limit("0"), 0U);
    EXPECT_EQ(limit("4096"), 4096U);
    EXPECT_EQ(limit("\"12\""), 12U);
    EXPECT_EQ(limit("\"1 KiB\""), 1024U);
    EXPECT_EQ(limit("\"3kB\""), 3000U);
    EXPECT_EQ(limit("\"2 GiB\""), 2ULL << 30U);
    EXPECT_EQ(limit("\"16777215 TiB\""), 16777215ULL << 40U);
    EXPECT_FALSE(Policy::parse("[limits]\nembed-limit = \"16777216 TiB\"", "p"));
    EXPECT_FALSE(Policy::parse("[limits]\nembed-limit = \"99999999999999999999\"", "p"));
    EXPECT_FALSE(Policy::parse("[limits]\nembed-limit = \"1.5 GB\"", "p"));
    EXPECT_FALSE(Policy::parse("[limits]\nembed-limit = \"\"", "p"));
}

TEST(Policy, ChoosesTheFirstRuleThatMatchesAllItAsksFor) {
    auto policy = Policy::parse(R"(
[[file]]
path = ["/big/*", "/huge/**"]
min-size = "1 MiB"
max-size = "2 MiB"
owner = 7
use = "mapped"
writable = true
state = ["deleted", "unnamed"]
file-system = "ext4"
strategies = ["reflink", "empty"]

[[file]]
path = "/big/**"
strategy = "copy"
)",
                                "p.toml");
    ASSERT_TRUE(policy) << policy.error().message();
    FileFacts all = facts("/big/x", 1U << 20U);
    all.owner = 7;
    all.mapped = true;
    all.writable = true;
    EXPECT_EQ(policy->choose(all).strategies, (std::vector{Strategy::reflink, Strategy::empty}));
    EXPECT_EQ(policy->choose(all).rule, "p.toml:2");

    auto without = [&](auto change) {
        FileFacts one = all;
        change(one);
        return policy->choose(one).rule;
    };
    EXPECT_EQ(without([](FileFacts &f) { f.size--; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.size = 2U << 20U; }), "p.toml:2"); // both ends belong to it
    EXPECT_EQ(without([](FileFacts &f) { f.size = (2U << 20U) + 1; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.owner = 8; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.mapped = false; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.writable = false; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.state = FileState::linked; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.state = FileState::unnamed; }), "p.toml:2");
    EXPECT_EQ(without([](FileFacts &f) { f.file_system = BTRFS_SUPER_MAGIC; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.path = "/big/d/x"; }), "p.toml:13");
    EXPECT_EQ(without([](FileFacts &f) { f.path = "/huge/d/x"; }), "p.toml:2");
    EXPECT_EQ(without([](FileFacts &f) { f.path = "/small"; }), "built-in default");
}

TEST(Policy, KnowsEveryWordOfItsLanguage) {
    auto rule = [](std::string_view line) {
        auto policy = Policy::parse(fmt::format("[[file]]\nstrategy = \"fail\"\n{}", line), "p");
        EXPECT_TRUE(policy) << line << ": " << (policy ? "" : policy.error().message());
        return policy.value_or(Policy::defaults());
    };
    auto matches = [](const Policy &policy, const FileFacts &file) {
        return policy.choose(file).strategies == std::vector{Strategy::fail};
    };
    using enum FileState;
    for (auto [word, state] : {std::pair("deleted", deleted), std::pair("linked", linked),
                               std::pair("unnamed", unnamed), std::pair("not-lasting", not_lasting)}) {
        Policy policy = rule(fmt::format("state = \"{}\"", word));
        for (FileState other : {deleted, linked, unnamed, not_lasting})
            EXPECT_EQ(matches(policy, {.path = "/x", .state = other}), other == state) << word;
    }
    for (bool mapped : {false, true}) {
        EXPECT_EQ(matches(rule("use = \"open\""), {.path = "/x", .mapped = mapped}), !mapped);
        EXPECT_EQ(matches(rule("use = \"mapped\""), {.path = "/x", .mapped = mapped}), mapped);
        EXPECT_TRUE(matches(rule("use = \"any\""), {.path = "/x", .mapped = mapped}));
    }
    EXPECT_TRUE(matches(rule("owner = [\"root\", 7]"), {.path = "/x", .owner = 0}));
    EXPECT_TRUE(matches(rule("owner = [\"root\", 7]"), {.path = "/x", .owner = 7}));
    EXPECT_FALSE(matches(rule("owner = [\"root\", 7]"), {.path = "/x", .owner = 8}));
    for (auto strategy :
         {Strategy::embed, Strategy::copy, Strategy::relink, Strategy::reflink, Strategy::empty, Strategy::fail}) {
        auto policy = Policy::parse(fmt::format("[[file]]\nstrategy = \"{}\"", strategy_name(strategy)), "p");
        ASSERT_TRUE(policy) << policy.error().message();
        EXPECT_EQ(policy->choose(facts("/x")).strategies, std::vector{strategy});
    }

    auto home = [](std::string_view line) { return Policy::parse(fmt::format("[home]\n{}", line), "p").value(); };
    EXPECT_EQ(home("provider = \"btrfs\"").home_provider_name(), "btrfs");
    EXPECT_EQ(home("provider = \"none\"").home_provider_name(), "none");
    EXPECT_EQ(home("provider = \"auto\"").home_provider_name(), "auto");
    for (const std::string name : {"nilfs2", "rsync", "tar", "reflink"})
        EXPECT_EQ(home("provider = \"" + name + "\"").home_provider_name(), name);
    EXPECT_EQ(home("verify = [\"src\", \".\"]\nverify-contents = true").home_verified(),
              (HomeVerified{.trees = {"src", "."}, .contents = true}));
    for (const std::string path : {"/etc", "..", "a/../..", "", "a//b", "a/"})
        EXPECT_FALSE(Policy::parse("[home]\nverify = \"" + path + "\"\n", "test")) << path;
    EXPECT_EQ(home("").home_snapshots(), HomeSnapshots());
    EXPECT_EQ(home("snapshot-directory = \"/home/.s/{home}\"\nsnapshot-name = \"{home}@{time}\"\n"
                   "snapshot-layout = \"snapper\"")
                  .home_snapshots(),
              (HomeSnapshots{.directory = "/home/.s/{home}", .name = "{home}@{time}", .snapper = true}));
    for (const std::string path : {"x", "/", "/a/../b", "/a/", "/a//b"})
        EXPECT_FALSE(Policy::parse("[home]\nsnapshot-directory = \"" + path + "\"\n", "test")) << path;
    for (const std::string name : {"", "x", "{home}", ".{id}", "a/{id}", "<{id}>", "{id} x", "{user}{id}"})
        EXPECT_FALSE(Policy::parse("[home]\nsnapshot-name = \"" + name + "\"\n", "test")) << name;
    EXPECT_EQ(home("on-divergence = \"keep\"").on_divergence(), OnDivergence::keep);
    EXPECT_EQ(home("on-divergence = \"fail\"").on_divergence(), OnDivergence::fail);
    EXPECT_EQ(home("on-divergence = \"rollback\"").on_divergence(), OnDivergence::rollback);
    EXPECT_EQ(home("on-divergence = \"private\"").on_divergence(), OnDivergence::private_home);
    auto resume = [](std::string_view line) { return Policy::parse(fmt::format("[resume]\n{}", line), "p").value(); };
    EXPECT_EQ(resume("on-login = \"never\"").resume_on_login(), OnLogin::never);
    EXPECT_EQ(resume("on-login = \"auto\"").resume_on_login(), OnLogin::automatic);
    auto attach = [](std::string_view line) { return Policy::parse(fmt::format("[attach]\n{}", line), "p").value(); };
    EXPECT_EQ(attach("").on_login_end(), OnLoginEnd::stay);
    EXPECT_EQ(attach("on-login-end = \"stay\"").on_login_end(), OnLoginEnd::stay);
    EXPECT_EQ(attach("on-login-end = \"suspend\"").on_login_end(), OnLoginEnd::suspend);
    EXPECT_EQ(attach("on-login-end = \"end\"").on_login_end(), OnLoginEnd::end);
    EXPECT_FALSE(Policy::parse("[attach]\non-login-end = \"checkpoint\"\n", "p"));
    auto graphical = [](std::string_view line) {
        return Policy::parse(fmt::format("[graphical]\n{}", line), "p").value().service().graphical;
    };
    EXPECT_EQ(graphical("").scope, GraphicalScope::nothing);
    EXPECT_EQ(graphical("scope = \"none\"").scope, GraphicalScope::nothing);
    EXPECT_EQ(graphical("scope = \"terminal-sessions\"").scope, GraphicalScope::terminal_sessions);
    EXPECT_EQ(graphical("scope = \"units\"\nunits = [\"a*.scope\", \"b.service\"]"),
              (Graphical{GraphicalScope::units, {"a*.scope", "b.service"}}));
    EXPECT_FALSE(Policy::parse("[graphical]\nscope = \"unit\"\n", "p"));
    EXPECT_EQ(resume("pids = \"same\"").pids(), Pids::same);
    EXPECT_EQ(resume("pids = \"namespace\"").pids(), Pids::in_namespace);
    EXPECT_EQ(resume("pids = \"auto\"").pids(), Pids::automatic);
}

TEST(Policy, ChoosesByTheAddressOfThePeer) {
    using abey::model::PeerAction;
    const auto policy = Policy::parse(R"(
[[peer]]
address = "10.1.2.3"
action = "fail"
[[peer]]
address = ["10.0.0.0/9", "2001:db8::/33", "192.0.2.128/25"]
port = [443, 22]
action = "reconnect"
[[peer]]
address = "198.51.100.1"
action = "keep"
[[peer]]
address = "198.51.100.2"
action = ["keep", "hangup"]
)",
                                      "p");
    ASSERT_TRUE(policy) << policy.error().message();
    const auto keeps = [&](const std::string &host, PeerAction otherwise) {
        const auto choice = policy->peer(*abey::os::InetAddress::of(host, 1));
        return choice.action == PeerAction::keep && choice.otherwise == otherwise;
    };
    EXPECT_TRUE(keeps("198.51.100.1", PeerAction::fail));
    EXPECT_TRUE(keeps("198.51.100.2", PeerAction::hangup));
    const auto action = [&](const std::string &host, uint16_t port) {
        const auto remote = abey::os::InetAddress::of(host, port);
        EXPECT_TRUE(remote) << host;
        return policy->peer(*remote).action;
    };
    EXPECT_EQ(action("10.1.2.3", 443), PeerAction::fail);
    EXPECT_EQ(action("10.1.2.4", 443), PeerAction::reconnect);
    EXPECT_EQ(action("10.127.255.255", 22), PeerAction::reconnect);
    EXPECT_EQ(action("10.128.0.0", 22), PeerAction::hangup);
    EXPECT_EQ(action("10.1.2.4", 80), PeerAction::hangup);
    EXPECT_EQ(action("2001:db8:7fff::1", 22), PeerAction::reconnect);
    EXPECT_EQ(action("2001:db8:8000::1", 22), PeerAction::hangup);
    EXPECT_EQ(action("::ffff:192.0.2.200", 22), PeerAction::reconnect);
    EXPECT_EQ(action("192.0.2.127", 22), PeerAction::hangup);
    const auto wrong = [](std::string_view line, std::string_view reason) {
        const auto refused = Policy::parse(fmt::format("[[peer]]\n{}", line), "p");
        ASSERT_FALSE(refused) << line;
        EXPECT_NE(refused.error().message().find(reason), std::string::npos) << refused.error().message();
    };
    wrong("port = 1", "add \"action\"");
    wrong("action = [\"hangup\", \"keep\"]", "or \"keep\" and what is done when that is not possible");
    wrong("action = []", "an empty array");
    wrong("action = \"hangpu\"", "did you mean \"hangup\"");
    wrong("address = \"example.org\"\naction = \"fail\"", "p:2:11: not an address");
    wrong("address = \"10.0.0.0/33\"\naction = \"fail\"", "between 0 and 32");
    wrong("address = \"10.0.0.1/8\"\naction = \"fail\"", "must be zero");
    wrong("port = 65536\naction = \"fail\"", "between 1 and 65535");
}

TEST(Policy, ChoosesByTheNameOfTheSocket) {
    using abey::model::PeerAction;
    const auto policy = Policy::parse(R"(
[[peer]]
action = "keep"
[[peer]]
socket = ["/run/user/*/agent.*", "@/tmp/.X11-unix/*"]
action = "reconnect"
[[peer]]
bus = ["system", "user"]
action = "fail"
[[peer]]
socket = "**"
action = "hangup"
)",
                                      "p");
    ASSERT_TRUE(policy) << policy.error().message();
    const auto action = [&](std::string_view name) { return policy->unix_peer(name).action; };
    EXPECT_EQ(action("/run/user/5001/agent.17"), PeerAction::reconnect);
    EXPECT_EQ(action("@/tmp/.X11-unix/X0"), PeerAction::reconnect);
    EXPECT_EQ(action("/tmp/.X11-unix/X0"), PeerAction::hangup);
    EXPECT_EQ(action("/run/dbus/system_bus_socket"), PeerAction::fail);
    EXPECT_EQ(action("/run/user/5001/bus"), PeerAction::fail);
    EXPECT_EQ(policy->unix_peer("").rule, "p:10");
    EXPECT_EQ(policy->unix_peer("/run/systemd/journal/stdout").rule, "p:10");
    EXPECT_EQ(Policy::defaults().unix_peer("/run/systemd/journal/stdout").action, PeerAction::reconnect);
    EXPECT_EQ(Policy::defaults().unix_peer("/run/user/5001/bus").action, PeerAction::hangup);
    EXPECT_EQ(Policy::defaults().unix_peer("/run/user/5001/bus").rule, "built in") << "each is told with its rule";
    EXPECT_EQ(policy->peer(*abey::os::InetAddress::of("10.1.2.3", 1)).action, PeerAction::keep);
    const auto wrong = [](std::string_view line, std::string_view reason) {
        const auto refused = Policy::parse(fmt::format("[[peer]]\n{}", line), "p");
        ASSERT_FALSE(refused) << line;
        EXPECT_NE(refused.error().message().find(reason), std::string::npos) << refused.error().message();
    };
    wrong("socket = \"/x\"\naction = \"keep\"", "cannot be kept");
    wrong("socket = \"/x\"\nport = 1\naction = \"fail\"", "neither \"address\" nor \"port\"");
    wrong("socket = \"x\"\naction = \"fail\"", "that of an abstract socket with \"@\"");
    wrong("bus = \"sytem\"\naction = \"fail\"", "did you mean \"system\"");
}

// As often as the policy says nothing else: agents that answer each request by itself, under the names that they have.
TEST(Policy, ReconnectsToAgentsOfSsh) {
    const auto shipped = Policy::load(SOURCE_ROOT "/policy/policy.toml");
    ASSERT_TRUE(shipped) << shipped.error().message();
    const auto both = [&](std::string_view name, abey::model::PeerAction wanted) {
        EXPECT_EQ(Policy::defaults().unix_peer(name).action, wanted) << name;
        EXPECT_EQ(shipped->unix_peer(name).action, wanted) << name;
    };
    using enum abey::model::PeerAction;
    for (const auto *name :
         {"/tmp/ssh-XXXXXXabcdef/agent.4711", "/run/user/1000/openssh_agent", "/run/user/1000/keyring/ssh",
          "/run/user/1000/keyring/.ssh", "/run/user/1000/gcr/ssh", "/run/user/1000/gnupg/S.gpg-agent.ssh",
          "/run/user/1000/ssh-agent.socket", "/run/systemd/journal/stdout"})
        both(name, reconnect);
    // These greet, or remember what was agreed upon
    for (const auto *name : {"/run/user/1000/gnupg/S.gpg-agent", "/run/user/1000/gnupg/S.gpg-agent.extra",
                             "/run/user/1000/keyring/control", "/run/user/1000/bus", "", "/tmp/ssh-x/control"})
        both(name, hangup);
}

TEST(Policy, WritesValuesAsItReadsThem) {
    for (const char *text : {"0 B", "1 B", "1023 B", "1 KiB", "256 MiB", "4 GiB", "1025 TiB"})
        EXPECT_EQ(size_text(parse_size(text).value()), text);
    EXPECT_EQ(size_text(parse_size("2048 KiB").value()), "2 MiB");
    for (const char *text : {"0 s", "59 s", "1 min", "90 s", "36 h", "1 days", "30 days", "never"})
        EXPECT_EQ(duration_text(parse_duration(text).value()), text);
}

TEST(Policy, TellsWhereEverythingStands) {
    const auto policy = Policy::parse("[home]\nprovider = \"tar\"\n[[peer]]\nport = [1, 2]\naction = \"fail\"\n"
                                      "[[user]]\nnames = \"ada\"\nhome.verify-contents = true\n"
                                      "[[user.peer]]\nport = 3\naction = \"hangup\"\n",
                                      "p");
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->origin("home.provider"), "p:2");
    EXPECT_EQ(policy->origin("home.verify-contents"), "");
    ASSERT_EQ(policy->written("peer").size(), 1U);
    EXPECT_EQ(policy->written("peer").front().origin, "p:3");
    const auto again = Policy::parse("[[peer]]\n" + policy->written("peer").front().text, "again");
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(again->peer(*abey::os::InetAddress::of("10.1.2.3", 2)).action, abey::model::PeerAction::fail);
    EXPECT_TRUE(policy->written("file").empty());
    const auto adas = policy->of(Subject{.user = "ada"});
    ASSERT_TRUE(adas) << adas.error().message();
    EXPECT_EQ(adas->origin("home.verify-contents"), "p:8");
    ASSERT_EQ(adas->written("peer").size(), 2U);
    EXPECT_EQ(adas->written("peer").front().origin, "p:9") << "asked first";
}

TEST(Policy, HasSensibleDefaults) {
    Policy policy = Policy::defaults();
    FileFacts file = facts("/home/ada/x");
    using enum Strategy;
    EXPECT_EQ(policy.choose(file).strategies, (std::vector{reflink, embed, copy}));
    file.state = FileState::linked;
    EXPECT_EQ(policy.choose(file).strategies.front(), relink);
    file.file_system = TMPFS_MAGIC;
    EXPECT_EQ(policy.choose(file).strategies, std::vector{embed});
    EXPECT_EQ(policy.area("/home/ada/x"), ".abeyance");
    EXPECT_EQ(policy.limits().embed, 256ULL << 20U);
    EXPECT_EQ(policy.home_provider_name(), "auto");
    EXPECT_EQ(policy.on_divergence(), OnDivergence::rollback);
    EXPECT_EQ(policy.pids(), Pids::automatic);
    EXPECT_EQ(policy.resume_on_login(), OnLogin::automatic);
}

TEST(Policy, ChoosesByThePathOfTheDevice) {
    const auto policy = Policy::parse("[[device]]\npath = \"/dev/net/*\"\naction = \"drop\"\n"
                                      "[[device]]\naction = \"fail\"\n"
                                      "[[device]]\naction = \"replace\"\n",
                                      "p");
    const auto replacing = Policy::parse("[[device]]\npath = \"/dev/tty*\"\naction = \"replace\"\n", "p");
    ASSERT_TRUE(replacing) << replacing.error().message();
    EXPECT_EQ(replacing->device("/dev/tty1").action, abey::engine::DeviceAction::replace);
    EXPECT_FALSE(replacing->device("/dev/hvc0").action);
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->device("/dev/net/tun").action, abey::engine::DeviceAction::drop);
    EXPECT_EQ(policy->device("/dev/net/tun").rule, "p:1");
    EXPECT_EQ(policy->device("/dev/tun").action, abey::engine::DeviceAction::fail);
    EXPECT_EQ(policy->device("/dev/tun").rule, "p:4");
    EXPECT_FALSE(Policy::defaults().device("/dev/net/tun").action) << "as is built in for its kind";
    const auto wrong = [](std::string_view line, std::string_view reason) {
        const auto refused = Policy::parse(fmt::format("[[device]]\n{}", line), "p");
        ASSERT_FALSE(refused) << line;
        EXPECT_NE(refused.error().message().find(reason), std::string::npos) << refused.error().message();
    };
    wrong("path = \"/dev/net/tun\"", "add \"action\"");
    wrong("action = \"dorp\"", "did you mean \"drop\"");
}

TEST(Policy, ShippedFileSaysWhatIsBuiltIn) {
    auto shipped = Policy::load(SOURCE_ROOT "/policy/policy.toml");
    ASSERT_TRUE(shipped) << shipped.error().message();
    Policy built_in = Policy::defaults();
    using enum FileState;
    for (FileState state : {deleted, linked, unnamed, not_lasting}) {
        for (const FileSystemName &file_system : file_system_names()) {
            FileFacts file{.path = "/x", .file_system = file_system.magic, .state = state};
            EXPECT_EQ(shipped->choose(file).strategies, built_in.choose(file).strategies)
                << file_system.name << ", state " << static_cast<int>(state);
            EXPECT_NE(shipped->choose(file).rule, "built-in default");
        }
    }
    for (std::string_view path : {"/tmp/x", "/var/tmp/x", "/home/ada/x"})
        EXPECT_EQ(shipped->lasts(path), built_in.lasts(path));
    for (std::string_view path :
         {"/run/user/1/x", "/run/user/1/systemd", "/run/user/1/dbus-1", "/run/user/1/gnupg", "/run/user/1/keyring",
          "/run/user/1/pulse", "/run/user/1/pipewire-0", "/run/user/1/wayland-0", "/run/user/1/gvfs", "/run/user"}) {
        EXPECT_EQ(shipped->keeps_unheld(path), built_in.keeps_unheld(path)) << path;
        EXPECT_EQ(shipped->leaves_unheld(path), built_in.leaves_unheld(path)) << path;
    }
    EXPECT_EQ(shipped->unheld_limits(), built_in.unheld_limits());
    EXPECT_EQ(shipped->limits(), built_in.limits());
    EXPECT_EQ(shipped->area("/x"), built_in.area("/x"));
    EXPECT_EQ(shipped->home_provider(), built_in.home_provider());
    EXPECT_EQ(shipped->home_snapshots(), built_in.home_snapshots());
    EXPECT_EQ(shipped->on_divergence(), built_in.on_divergence());
    EXPECT_EQ(shipped->pids(), built_in.pids());
    EXPECT_EQ(shipped->resume_on_login(), built_in.resume_on_login());
    EXPECT_EQ(shipped->on_login_end(), built_in.on_login_end());
}

TEST(Policy, TakesTheAreaFromTheFirstRuleOfItsPath) {
    auto policy =
        Policy::parse("[[area]]\npath = \"/srv/**\"\ndirectory = \"/srv/kept\"\n[[area]]\ndirectory = \".k\"", "p");
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->area("/srv/a/b"), "/srv/kept");
    EXPECT_EQ(policy->area("/home/a"), ".k");
}

TEST(Policy, KnowsNamesThatDoNotLast) {
    EXPECT_FALSE(Policy::defaults().lasts("/tmp/x"));
    EXPECT_TRUE(Policy::defaults().lasts("/home/tmp/x"));
    auto policy = Policy::parse("[not-lasting]\npaths = [\"/scratch/**\"]", "p");
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_FALSE(policy->lasts("/scratch/a/b"));
    EXPECT_TRUE(policy->lasts("/tmp/x"));
    auto none = Policy::parse("[not-lasting]\npaths = []", "p");
    ASSERT_TRUE(none) << none.error().message();
    EXPECT_TRUE(none->lasts("/tmp/x"));
    EXPECT_EQ(error_of("[not-lasting]\npaths = [\"tmp\"]"),
              "p.toml:2:10: a pattern is for the whole path, so it begins with \"/\" or \"**\"");
}

TEST(Policy, KnowsWhatIsKeptOfARuntimeDirectory) {
    const auto built_in = Policy::defaults();
    EXPECT_TRUE(built_in.keeps_unheld("/run/user/1000/app/state"));
    EXPECT_FALSE(built_in.keeps_unheld("/run/user/1000"));
    EXPECT_FALSE(built_in.keeps_unheld("/run/app"));
    EXPECT_TRUE(built_in.leaves_unheld("/run/user/1000/systemd"));
    EXPECT_TRUE(built_in.leaves_unheld("/run/user/1000/pipewire-0"));
    EXPECT_FALSE(built_in.leaves_unheld("/run/user/1000/app"));
    auto policy =
        Policy::parse("[runtime-directory]\nkeep = [\"/run/user/*/app/**\"]\nleave = []\nmax-size = \"1 KiB\"\n"
                      "max-files = 7",
                      "p");
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_TRUE(policy->keeps_unheld("/run/user/1000/app/x"));
    EXPECT_FALSE(policy->keeps_unheld("/run/user/1000/x"));
    EXPECT_FALSE(policy->leaves_unheld("/run/user/1000/systemd"));
    EXPECT_EQ(policy->unheld_limits().size, 1024U);
    EXPECT_EQ(policy->unheld_limits().files, 7U);
    auto none = Policy::parse("[runtime-directory]\nkeep = []", "p");
    ASSERT_TRUE(none) << none.error().message();
    EXPECT_FALSE(none->keeps_unheld("/run/user/1000/app/x"));
    EXPECT_EQ(error_of("[runtime-directory]\nkep = []"),
              "p.toml:2:1: unknown key \"kep\" in [runtime-directory], did you mean \"keep\"?");
    EXPECT_EQ(error_of("[runtime-directory]\nmax-files = 10001"), "p.toml:2:13: expected a number between 0 and 10000");
}

TEST(Policy, IsUtf8) {
    EXPECT_EQ(error_of("[[file]]\n\xc3"), "p.toml:2:1: the byte 0xc3 is no UTF-8, in which policies are written");
    EXPECT_EQ(error_of("# \u00e4\u20ac\U0001f600\n\n# a\u00e4 \xff\n"),
              "p.toml:3:6: the byte 0xff is no UTF-8, in which policies are written");
    EXPECT_EQ(error_of("\xef\xbb\xbf# \u00e4\n[home]\nprovider = \"none\"\n"), "no error") << "a byte order mark";
}

TEST(Policy, TakesAnyInput) {
    for (const std::string &text :
         {std::string("\0\xff\xfe", 3), std::string(5000, '['), std::string("\"\\uD800\" = 1"),
          "x = " + std::string(3000, '['), std::string("[[file]]\n\xc3 = 1"), std::string("[[file]]\n\"a\\nb\" = 1")}) {
        auto policy = Policy::parse(text, "p");
        ASSERT_FALSE(policy) << text;
        EXPECT_EQ(policy.error().message().find('\n'), std::string::npos) << policy.error().message();
    }
    std::string large(policy_size_limit + 1, '\n');
    EXPECT_FALSE(Policy::parse(large, "p"));
    std::string many;
    for (size_t i = 0; i <= rule_count_limit; i++)
        many += "[[file]]\nstrategy='fail'\n";
    EXPECT_FALSE(Policy::parse(many, "p"));
}

TEST(Policy, FastSharesDataAndKeepsTheHome) {
    const auto policy = Policy::load(SOURCE_ROOT "/policy/fast.toml");
    ASSERT_TRUE(policy) << policy.error().message();
    EXPECT_EQ(policy->choose(facts("/home/x")).strategies.front(), Strategy::reflink);
    EXPECT_EQ(policy->changed("/var/log/x.log"), ChangedAction::accept);
    EXPECT_EQ(policy->changed("/home/ada/thesis"), ChangedAction::fail);
    EXPECT_EQ(policy->home_provider(), HomeProvider::none);
    EXPECT_EQ(policy->on_divergence(), OnDivergence::keep);
}

TEST(Policy, DeprecatedKeysWorkAndAreWarnedOf) {
    struct Table {
        bool value = false;
    };
    constexpr auto read = [](const Reader &reader, const toml::node &node, Table &into) -> Result<> {
        into.value = TRY(read_bool(reader, node));
        return {};
    };
    constexpr std::array<Key<Table>, 2> keys = {{{"keep-it", read}, {"preserve", read, "keep-it"}}};
    const std::string name = "p.toml";
    std::vector<std::string> warnings;
    std::vector<Mistake> mistakes;
    const auto read_text = [&](const char *text, Table &into) {
        return read_table(Reader(name, warnings, mistakes), toml::parse(text), "[table]", keys, into);
    };
    Table table;
    ASSERT_TRUE(read_text("\n  preserve = true", table));
    EXPECT_TRUE(table.value);
    EXPECT_EQ(warnings, std::vector<std::string>{
                            "p.toml:2:3: \"preserve\" in [table] is deprecated: it is called \"keep-it\" now"});
    EXPECT_EQ(read_text("keep-it = true\npreserve = false", table).error().message(),
              "p.toml:2:1: \"preserve\" is the former name of \"keep-it\", which is in this [table], too");
    EXPECT_EQ(read_text("preservd = true", table).error().message(), "p.toml:1:1: unknown key \"preservd\" in [table]")
        << "nobody is led to a name that is deprecated";
    warnings.clear();
    ASSERT_TRUE(read_text("keep-it = true", table));
    EXPECT_TRUE(warnings.empty());
    EXPECT_TRUE(Policy::parse("", "p.toml")->warnings().empty());
}
