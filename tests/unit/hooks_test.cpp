// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hooks/hooks.h"

#include "engine/os/fd.h"
#include "policy/policy.h"

#include <chrono>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <pwd.h>

namespace abey::hooks {
namespace {

using policy::HookEvent;
using policy::HookRule;

class Hooks : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "abey-hooks-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
        facts_ = {.checkpoint = "20261123-1",
                  .user = ::getpwuid(::geteuid())->pw_name,
                  .uid = ::geteuid(),
                  .home = directory_,
                  .session = "7",
                  .details = R"({"processes": [{"pid": 12, "comm": "b\u00e4sh"}]})"};
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    [[nodiscard]] HookRule rule(const std::string &script, std::vector<HookEvent> events) const {
        return {.events = std::move(events),
                .command = {"/bin/sh", "-c", "cd " + directory_ + " && " + script},
                .origin = "test.toml:1"};
    }
    [[nodiscard]] std::string said(const std::string &name) const {
        return read_file(directory_ + "/" + name).value_or("(none)");
    }

    std::string directory_;
    Facts facts_;
};

TEST_F(Hooks, AreGivenTheFacts) {
    const auto done = run({rule("cat >in; env >env", {HookEvent::post_suspend})}, HookEvent::post_suspend, facts_);
    ASSERT_TRUE(done) << done.error().message();
    const auto json = nlohmann::json::parse(said("in"));
    EXPECT_EQ(json["event"], "post-suspend");
    EXPECT_EQ(json["checkpoint"], "20261123-1");
    EXPECT_EQ(json["session"], "7");
    EXPECT_EQ(json["ok"], true);
    EXPECT_EQ(json["details"]["processes"][0]["pid"], 12);
    const auto environment = said("env");
    for (const std::string line : {"ABEYANCE_EVENT=post-suspend\n", "ABEYANCE_CHECKPOINT=20261123-1\n",
                                   "ABEYANCE_SESSION=7\n", "ABEYANCE_RESULT=ok\n"})
        EXPECT_NE(environment.find(line), std::string::npos) << environment;
}

TEST_F(Hooks, OnlyThoseOfTheEventAndTheUserAreRun) {
    auto others = rule("touch others", {HookEvent::pre_suspend});
    others.users = {"somebody-else"};
    auto own = rule("touch own", {HookEvent::pre_suspend, HookEvent::pre_resume});
    own.users = {"somebody-else", facts_.user};
    ASSERT_TRUE(run({others, own, rule("touch later", {HookEvent::post_resume})}, HookEvent::pre_suspend, facts_));
    EXPECT_EQ(said("own"), "");
    EXPECT_EQ(said("others"), "(none)");
    EXPECT_EQ(said("later"), "(none)");
}

TEST_F(Hooks, TheFirstFailureBeforeAnEventEndsIt) {
    const std::vector<HookRule> rules = {rule("echo not today >&2; exit 4", {HookEvent::pre_suspend}),
                                         rule("touch second", {HookEvent::pre_suspend})};
    const auto done = run(rules, HookEvent::pre_suspend, facts_);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().message(), "pre-suspend hook (test.toml:1): /bin/sh ended with status 4: not today");
    EXPECT_EQ(said("second"), "(none)");
}

TEST_F(Hooks, AfterAnEventAllAreRun) {
    facts_.error = "it did not work";
    const std::vector<HookRule> rules = {rule("exit 4", {HookEvent::post_resume}),
                                         rule("cat >in; echo $ABEYANCE_RESULT >result", {HookEvent::post_resume})};
    EXPECT_FALSE(run(rules, HookEvent::post_resume, facts_));
    EXPECT_EQ(said("result"), "failed\n");
    EXPECT_EQ(nlohmann::json::parse(said("in"))["error"], "it did not work");
}

TEST_F(Hooks, OneThatTakesTooLongIsEnded) {
    auto slow = rule("sleep 1000", {HookEvent::pre_suspend});
    slow.time_limit = 1;
    const auto done = run({slow}, HookEvent::pre_suspend, facts_);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ETIMEDOUT) << done.error().message();
}

TEST_F(Hooks, OfTheUserAreInTheirHomeAndRunAsThem) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    ASSERT_TRUE(write_file(directory_ + "/hook", "#!/bin/sh\nid -u >who; id -G >>who; pwd >>who; echo $HOME >>who\n"));
    const auto *nobody = ::getpwnam("nobody");
    ASSERT_NE(nobody, nullptr);
    facts_.user = "nobody";
    facts_.uid = nobody->pw_uid;
    std::filesystem::permissions(directory_ + "/hook", std::filesystem::perms(0755));
    ASSERT_EQ(::chown(directory_.c_str(), nobody->pw_uid, nobody->pw_gid), 0);
    HookRule own{
        .events = {HookEvent::pre_suspend}, .command = {"~/hook"}, .as_user = true, .optional = true, .origin = "t:1"};
    const auto done = run({own}, HookEvent::pre_suspend, facts_);
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_EQ(said("who"), fmt::format("{}\n{}\n{}\n{}\n", nobody->pw_uid, nobody->pw_gid, directory_, directory_));
    own.command = {"~/not-there"};
    EXPECT_TRUE(run({own}, HookEvent::pre_suspend, facts_));
    own.optional = false;
    EXPECT_FALSE(run({own}, HookEvent::pre_suspend, facts_));
}

TEST(HookRules, AreReadFromThePolicy) {
    const auto policy =
        policy::Policy::parse("[[hook]]\nat = [\"pre-suspend\", \"post-resume\"]\nrun = [\"/bin/a\", \"b c\"]\n"
                              "as = \"user\"\noptional = true\ntime-limit = \"5 s\"\nusers = \"ada\"\n"
                              "[[hook]]\nat = \"pre-resume\"\nrun = \"/bin/b\"\n",
                              "p");
    ASSERT_TRUE(policy) << policy.error().message();
    ASSERT_EQ(policy->hooks().size(), 2U);
    EXPECT_EQ(policy->hooks()[0], (HookRule{.events = {HookEvent::pre_suspend, HookEvent::post_resume},
                                            .command = {"/bin/a", "b c"},
                                            .as_user = true,
                                            .optional = true,
                                            .time_limit = 5,
                                            .users = {"ada"},
                                            .origin = "p:1"}));
    EXPECT_EQ(policy->hooks()[1].command, std::vector<std::string>{"/bin/b"});
    for (const std::string wrong :
         {"at = \"pre-suspend\"", "run = \"/bin/a\"", "at = \"before\"\nrun = \"/bin/a\"",
          "at = \"pre-suspend\"\nrun = \"a\"", "at = \"pre-suspend\"\nrun = \"~/a\"",
          "at = \"pre-suspend\"\nrun = \"/bin/a\"\ntime-limit = \"never\"", "at = \"pre-suspend\"\nrun = []",
          "at = \"pre-suspend\"\nrun = \"/bin/a\"\nas = \"ada\""})
        EXPECT_FALSE(policy::Policy::parse("[[hook]]\n" + wrong + "\n", "p")) << wrong;
}

} // namespace
} // namespace abey::hooks
