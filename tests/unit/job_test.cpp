// SPDX-License-Identifier: LGPL-2.1-or-later
#include "job/job.h"

#include "engine/os/cause.h"
#include "engine/os/fd.h"
#include "worker/listing.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include <sys/socket.h>
#include <sys/un.h>

#include <gtest/gtest.h>

namespace abey::job {
namespace {

class JobFiles : public testing::Test {
  protected:
    void SetUp() override {
        directory_ = std::filesystem::temp_directory_path() / "abeyance-job-XXXXXX";
        ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string directory_;
};

TEST(JobNumber, TakesOnlyPlainDecimal) {
    EXPECT_EQ(number_from("1").value(), 1U);
    EXPECT_EQ(number_from("4294967295").value(), std::numeric_limits<uint32_t>::max());
    for (const auto *text : {"", "0", "01", "-1", "+1", "1 ", "1a", "4294967296", "../1", "1/2"})
        EXPECT_FALSE(number_from(text)) << text;
}

TEST(JobUnit, IsATemplateInstanceOfItsKind) {
    EXPECT_EQ(unit_of({.number = 12, .kind = Kind::resume}), "abeyance-resume@12.service");
    EXPECT_EQ(kind_of("check").value(), Kind::check);
    EXPECT_FALSE(kind_of("Check"));
}

TEST_F(JobFiles, ComeBackAsWritten) {
    const Job job{.number = 7,
                  .kind = Kind::resume,
                  .uid = 1000,
                  .session = "c3",
                  .checkpoint = "20260101-1",
                  .keep_running = true,
                  .pids = "same",
                  .on_divergence = "fail",
                  .tty = "pts/4",
                  .login = "c7",
                  .beside = "5",
                  .automatic = true,
                  .command = {"ls", "-l", ""},
                  .environment = {"A=b=c", "EMPTY="},
                  .directory = "/tmp",
                  .rows = 30,
                  .columns = 90};
    ASSERT_TRUE(store(job, directory_));
    const auto again = load(7, directory_);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(to_json(*again), to_json(job));
    EXPECT_EQ(list(directory_).value(), std::vector<uint32_t>{7});
    EXPECT_EQ(std::filesystem::status(directory_ + "/7.json").permissions(), std::filesystem::perms(0600));

    EXPECT_EQ(load_outcome(7, directory_).error().code(), ENOENT);
    Outcome outcome{.ok = true, .message = "fine", .checkpoint = "x", .session = "9", .figures = {{"frozen_time", 5}}};
    outcome.findings.push_back(
        {.pid = 3, .comm = "vi\xff", .object = "descriptor 3", .reason = "r", .advice = "a", .fatal = false});
    ASSERT_TRUE(store_outcome(7, outcome, directory_));
    const auto read = load_outcome(7, directory_);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->figures.at("frozen_time"), 5U);
    EXPECT_EQ(read->findings.at(0).comm, "vi\xef\xbf\xbd");
    EXPECT_FALSE(read->findings.at(0).fatal);

    EXPECT_EQ(noted_place(7, directory_).error().code(), ENOENT);
    ASSERT_TRUE(note_place(7, {.cgroup = "/sys/fs/cgroup/a.slice/session-c3.scope", .leader = 12}, directory_));
    EXPECT_EQ(noted_place(7, directory_).value().cgroup, "/sys/fs/cgroup/a.slice/session-c3.scope");
    EXPECT_EQ(noted_place(7, directory_).value().leader, 12);

    forget(7, directory_);
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(JobFiles, AreReadBackHoweverMuchIsTold) {
    const auto back = [this](const Outcome &outcome) {
        EXPECT_TRUE(store_outcome(7, outcome, directory_));
        auto read = load_outcome(7, directory_);
        EXPECT_TRUE(read) << read.error().message();
        return read ? *read : Outcome();
    };
    const std::string much(5U << 20U, 'm');
    EXPECT_TRUE(back({.ok = true, .message = much}).message.starts_with("mmm"));
    Outcome outcome{.ok = true};
    for (int i = 1; i <= 10'000; i++)
        outcome.findings.push_back({.pid = i, .comm = "a", .object = "o", .reason = "r", .advice = "", .fatal = false});
    EXPECT_EQ(back(outcome).findings.size(), 10'000U) << "all of these have room";
    outcome.findings.push_back({.pid = 77777, .comm = "b", .object = "o", .reason = "r", .advice = "", .fatal = true});
    auto findings = back(outcome).findings;
    ASSERT_EQ(findings.size(), 10'000U);
    EXPECT_EQ(findings.front().pid, 77777) << "what is fatal comes first where not all have room";
    EXPECT_EQ(findings.at(1).pid, 1);
    EXPECT_EQ(findings.back().reason, "and 2 more like these have no room here");
    EXPECT_FALSE(findings.back().fatal);
    outcome.findings.resize(5000);
    for (auto &one : outcome.findings) {
        one.reason = std::string(10'000, '\xff'); // becomes longer when it is written
        one.fatal = true;
    }
    findings = back(outcome).findings;
    ASSERT_GT(findings.size(), 100U);
    EXPECT_EQ(findings.back().reason, fmt::format("and {} more like these have no room here", 5001 - findings.size()));
    EXPECT_TRUE(findings.back().fatal);
}

TEST_F(JobFiles, HaveRoomForEveryAnswer) {
    const std::string longest = std::string(2000, '"') + std::string(2000, '\xff') + "\\xfe\\xfe";
    worker::Listing list(4000);
    for (int i = 0; i < 5000; i++)
        list.add([&]() -> nlohmann::json { return {{"path", longest}, {"number", i}}; });
    const auto more = list.more();
    auto taken = list.take();
    EXPECT_EQ(taken.size() + more, 5000U);
    ASSERT_GT(taken.size(), 100U);
    EXPECT_EQ(taken.back()["number"], taken.size() - 1);
    const auto answer = worker::to_text({{"files", std::move(taken)}});
    ASSERT_TRUE(store_outcome(7, {.ok = true, .answer = answer}, directory_));
    const auto read = load_outcome(7, directory_);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->answer, answer);

    worker::Listing few(3);
    for (int i = 0; i < 5; i++)
        few.add([&] { return nlohmann::json(i); });
    EXPECT_EQ(few.more(), 2U);
    EXPECT_EQ(few.take().size(), 3U);
}

TEST_F(JobFiles, AreRefusedWhenForeign) {
    ASSERT_TRUE(store({.number = 7}, directory_));
    std::filesystem::rename(directory_ + "/7.json", directory_ + "/8.json");
    EXPECT_FALSE(load(8, directory_)) << "describes another job";
    ASSERT_TRUE(store({.number = 9}, directory_));
    std::filesystem::permissions(directory_ + "/9.json", std::filesystem::perms(0666));
    EXPECT_EQ(load(9, directory_).error().code(), EPERM);
    std::filesystem::create_symlink("9.json", directory_ + "/10.json");
    EXPECT_FALSE(load(10, directory_));
}

TEST_F(JobFiles, NameNoPlaceThatIsNone) {
    for (const auto *text : {"", "[]", "{}", R"({"cgroup":"","leader":1})", R"({"cgroup":"a/b","leader":1})",
                             R"({"cgroup":"/a","leader":"1"})"}) {
        ASSERT_TRUE(write_file(directory_ + "/7.place", text));
        std::filesystem::permissions(directory_ + "/7.place", std::filesystem::perms(0600));
        EXPECT_EQ(noted_place(7, directory_).error().code(), EINVAL) << text;
    }
}

TEST_F(JobFiles, AreNumberedOnAndOn) {
    EXPECT_EQ(next_number(directory_).value(), 1U);
    EXPECT_EQ(next_number(directory_).value(), 2U);
    EXPECT_TRUE(list(directory_).value().empty());
    ASSERT_TRUE(write_file(directory_ + "/last", "4294967296"));
    EXPECT_FALSE(next_number(directory_)) << "a spoilt counter must not start over";
}

TEST(JobText, OfAnotherShapeIsAnError) {
    for (const auto *text :
         {"", "[]", "{}", R"({"number":"7","kind":"suspend","uid":0})", R"({"number":7,"kind":"no","uid":0})",
          R"({"number":7,"kind":"suspend","uid":0,"session":1})", R"({"number":-1,"kind":"suspend"})"})
        EXPECT_FALSE(job_from_json(text)) << text;
    for (const auto *text : {"", "{}", R"({"ok":1})", R"({"ok":true,"findings":{}})", R"({"ok":true,"findings":[3]})"})
        EXPECT_FALSE(outcome_from_json(text)) << text;
}

TEST(JobProgress, ReadsOnlyItsOwnForm) {
    const auto progress = progress_from("pre-copy (20%)");
    ASSERT_TRUE(progress);
    EXPECT_EQ(progress->phase, "pre-copy");
    EXPECT_EQ(progress->percent, 20U);
    for (const auto *text : {"", "freeze", "freeze (%)", "freeze (101%)", "freeze (-1%)", " (1%)", "fr eeze (1%)",
                             "F (1%)", "freeze(1%)", "freeze (1%) ", "freeze (", "freeze %)"})
        EXPECT_FALSE(progress_from(text)) << text;
}

TEST(Progress, AsksForTime) {
    std::string directory = std::filesystem::temp_directory_path() / "abeyance-notify-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const auto path = directory + "/notify";
    path.copy(static_cast<char *>(address.sun_path), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address), 0); // NOLINT
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1); // NOLINT(concurrency-mt-unsafe)
    ask_for_time(900'000'000);
    ::unsetenv("NOTIFY_SOCKET"); // NOLINT(concurrency-mt-unsafe)
    std::string said(256, '\0');
    const auto size = ::recv(socket.get(), said.data(), said.size(), MSG_DONTWAIT);
    said.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
    EXPECT_EQ(said, "EXTEND_TIMEOUT_USEC=900000000");
    std::filesystem::remove_all(directory);
}

TEST(Outcome, SaysWhatKindOfFailureItIs) {
    const auto word = [](int code) { return outcome_from_json(to_json(failed(Error(code, "no")))).value().error; };
    EXPECT_EQ(word(0), "");
    EXPECT_EQ(word(ENOENT), "");
    EXPECT_EQ(word(EDQUOT), "QuotaExceeded");
    EXPECT_EQ(word(cause::policy_invalid), "PolicyInvalid");
    EXPECT_EQ(word(cause::not_suspendable), "NotSuspendable");
    EXPECT_EQ(word(cause::diverged), "Diverged");
    const auto outcome = failed(Error(cause::diverged, "it has changed"));
    EXPECT_FALSE(outcome.ok);
    EXPECT_EQ(outcome.message, "it has changed") << "there is no errno to be told";
}

} // namespace
} // namespace abey::job
