// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/frontend.h"
#include "session/user_unit.h"

#include "engine/os/procfs.h"
#include "session/controllers.h"
#include "session/logind.h"
#include "session/stray.h"

#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace abey::session {
namespace {

using Pids = std::vector<pid_t>;
constexpr uint32_t pts0 = 0x8800;
constexpr uint32_t pts1 = 0x8801;

TEST(Frontend, LoginThatGaveItsTerminalAway) {
    const std::vector<Process> processes = {
        {100, "login", 1, 100, 0}, {110, "bash", 100, 110, pts0}, {120, "vim", 110, 110, pts0}};
    EXPECT_EQ(frontend(processes, 100), Pids({100}));
}

TEST(Frontend, LoginThatLeadsTheTerminalItself) {
    // Debian's login: the shell stays in login's kernel session. A user's program by the name of login is not it.
    const std::vector<Process> processes = {
        {100, "login", 1, 100, pts0}, {110, "bash", 100, 100, pts0}, {120, "login", 110, 100, pts0}};
    EXPECT_EQ(frontend(processes, 100), Pids({100}));
}

TEST(Frontend, LoginWithoutAnyTerminal) {
    const std::vector<Process> processes = {
        {100, "su", 1, 60, 0}, {110, "bash", 100, 60, 0}, {120, "sleep", 110, 60, 0}};
    EXPECT_EQ(frontend(processes, 100), Pids({100}));
}

TEST(Frontend, BothHalvesOfSshd) {
    const std::vector<Process> processes = {{110, "bash", 105, 110, pts0},
                                            {105, "sshd", 100, 100, 0},
                                            {100, "sshd", 50, 100, 0},
                                            {120, "sleep", 110, 110, pts0}};
    EXPECT_EQ(frontend(processes, 100), Pids({100, 105}));
}

TEST(Frontend, SshdWithoutTerminal) {
    const std::vector<Process> processes = {{100, "sshd", 50, 100, 0},
                                            {105, "sshd", 100, 100, 0},
                                            {110, "bash", 105, 110, 0},
                                            {111, "script", 110, 110, 0},
                                            {112, "bash", 111, 112, pts1}};
    EXPECT_EQ(frontend(processes, 100), Pids({100, 105}));
}

TEST(Frontend, SshdStartedByTheUserIsPartOfTheSession) {
    const std::vector<Process> processes = {{100, "sshd", 50, 100, 0},
                                            {105, "sshd", 100, 100, 0},
                                            {110, "bash", 105, 110, pts0},
                                            {130, "sshd", 110, 130, 0},
                                            {131, "sshd", 130, 130, 0}};
    EXPECT_EQ(frontend(processes, 100), Pids({100, 105}));
}

TEST(Frontend, SuSudoAndScriptWithinAreNot) {
    const std::vector<Process> processes = {
        {100, "login", 1, 100, 0},     {110, "bash", 100, 110, pts0},   {120, "su", 110, 110, pts0},
        {121, "bash", 120, 110, pts0}, {130, "sudo", 121, 110, pts0},   {131, "sudo", 130, 131, pts1},
        {132, "bash", 131, 131, pts1}, {140, "script", 110, 110, pts0}, {141, "bash", 140, 141, pts1},
    };
    EXPECT_EQ(frontend(processes, 100), Pids({100}));
}

TEST(Frontend, ProgramOfTheSameNameIsNot) {
    // ssh HOST /usr/sbin/sshd, and a user whose shell is login
    const std::vector<Process> remote = {
        {100, "sshd", 50, 100, 0}, {105, "sshd", 100, 100, 0}, {110, "sshd", 105, 110, 0}};
    EXPECT_EQ(frontend(remote, 100), Pids({100, 105}));
    const std::vector<Process> local = {{100, "login", 1, 100, pts0}, {110, "login", 100, 100, pts0}};
    EXPECT_EQ(frontend(local, 100), Pids({100}));
}

TEST(Frontend, KeeperOfAResumedSession) {
    // Its children are the old session's roots: a session leader, an orphan whose leader has gone, and a restored
    // process whose name is the keeper's.
    const std::vector<Process> processes = {{300, "abey-keeper", 1, 300, 0},
                                            {110, "bash", 300, 110, pts0},
                                            {111, "sleep", 300, 90, 0},
                                            {112, "abey-keeper", 110, 110, pts0}};
    EXPECT_EQ(frontend(processes, 300), Pids({300}));
}

TEST(Frontend, DisplayManager) {
    const std::vector<Process> processes = {{100, "gdm-session-wor", 50, 50, 0},
                                            {110, "gdm-wayland-ses", 100, 110, 0},
                                            {111, "gnome-session-b", 110, 110, 0}};
    EXPECT_EQ(frontend(processes, 100), Pids({100}));
}

TEST(Frontend, UnitWithPamName) {
    const std::vector<Process> processes = {
        {100, "bash", 1, 100, pts0}, {101, "(sd-pam)", 100, 100, 0}, {102, "sleep", 100, 100, pts0}};
    EXPECT_EQ(frontend(processes, 100), Pids({101}));
    const std::vector<Process> of_a_user = {{100, "bash", 1, 100, pts0, 1000}, {101, "(sd-pam)", 100, 100, 0, 1000}};
    EXPECT_EQ(frontend(of_a_user, 100), Pids({101}));
}

TEST(Frontend, ShellThatCallsItselfByAnothersNameIsNot) {
    // prctl(PR_SET_NAME): else root's login would be checkpointed as part of the user's session
    const std::vector<Process> processes = {{100, "login", 1, 100, 0, 0}, {110, "(sd-pam)", 100, 110, pts0, 1000}};
    EXPECT_EQ(frontend(processes, 100), Pids({100}));
}

TEST(Frontend, LeaderElsewhere) {
    const std::vector<Process> processes = {{110, "bash", 100, 110, pts0}};
    EXPECT_TRUE(frontend(processes, 100).empty());
    EXPECT_TRUE(frontend({}, 100).empty());
}

// The 52 fields of proc_pid_stat(5).
std::string line_of_stat(std::string_view name) {
    std::string line = fmt::format("12 ({}) S 1 12 11 34816", name);
    for (int field = 8; field <= 52; ++field)
        line += fmt::format(" {}", field);
    return line + "\n";
}

TEST(ParseStat, NamesMayHoldAnything) {
    const auto stat = os::parse_stat(line_of_stat("a) R (b c"));
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->pid, 12);
    EXPECT_EQ(stat->comm, "a) R (b c");
    EXPECT_EQ(stat->state, 'S');
    EXPECT_EQ(stat->parent, 1);
    EXPECT_EQ(stat->session, 11);
    EXPECT_EQ(static_cast<uint32_t>(stat->terminal), pts0);
    EXPECT_EQ(stat->start_time, 22U);
    EXPECT_EQ(stat->exit_code, 52);
    EXPECT_EQ(stat->threads, 20);
}

TEST(ParseStat, ZombiesHaveNoThreadLeft) {
    os::ProcStat stat;
    stat.state = 'Z';
    stat.threads = 1;
    EXPECT_TRUE(stat.ended() && stat.zombie());
    stat.threads = 2; // its first thread has ended, another runs
    EXPECT_TRUE(stat.ended() && !stat.zombie());
}

TEST(ParseStat, RefusesWhatIsCutShort) {
    const std::string whole = line_of_stat("cat");
    for (size_t length = 0; length + 3 < whole.size(); ++length)
        EXPECT_FALSE(os::parse_stat(whole.substr(0, length))) << length;
    EXPECT_TRUE(os::parse_stat(whole));
    EXPECT_FALSE(os::parse_stat(")12( S 1 12 11 0"));
}

TEST(Proc, ParsesAutogroups) {
    const auto group = os::parse_autogroup("/autogroup-1234 nice -7\n");
    ASSERT_TRUE(group) << group.error().message();
    EXPECT_EQ(group->name, "/autogroup-1234");
    EXPECT_EQ(group->nice, -7);
    EXPECT_EQ(os::parse_autogroup("")->name, "");
    EXPECT_FALSE(os::parse_autogroup("/autogroup-1234\n"));
}

constexpr std::string_view unified = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(CgroupDirectory, UnifiedAndHybrid) {
    EXPECT_EQ(cgroup_directory(unified, "/user.slice/a"), "/sys/fs/cgroup/user.slice/a");
    EXPECT_EQ(cgroup_directory(unified, "/"), "/sys/fs/cgroup");
    constexpr std::string_view hybrid = "24 22 0:20 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n"
                                        "25 24 0:21 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
                                        "26 24 0:22 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw\n";
    EXPECT_EQ(cgroup_directory(hybrid, "/a"), "/sys/fs/cgroup/unified/a");
}

TEST(CgroupDirectory, MountOfAPartAndEscapedNames) {
    constexpr std::string_view part = "29 22 0:26 /top /mnt/a\\040b rw - cgroup2 none rw\n";
    EXPECT_EQ(cgroup_directory(part, "/top/user"), "/mnt/a b/user");
    EXPECT_EQ(cgroup_directory(part, "/top"), "/mnt/a b");
    EXPECT_EQ(cgroup_directory(part, "/topper/user"), "");
    EXPECT_EQ(cgroup_directory("24 22 0:20 / /x ro - tmpfs cgroup2 rw\n", "/a"), "");
    EXPECT_EQ(cgroup_directory("", "/a"), "");
}

TEST(Strays, HaveATerminalOrAParentOfTheSessions) {
    const std::vector<Process> inside = {{110, "bash", 100, 110, pts0}, {111, "daemon", 110, 111, 0}};
    const std::vector<Process> others = {{1, "systemd", 0, 1, 0},
                                         {200, "bash", 110, 110, pts0}, // systemd-run --scope
                                         {201, "vim", 200, 110, pts0},  // its child
                                         {202, "worker", 111, 111, 0},  // a child in a group of its own
                                         {210, "bash", 209, 210, pts1}, // another session
                                         {211, "daemon", 1, 211, 0}};
    Pids found;
    for (const Process &stray : strays(inside, others))
        found.push_back(stray.pid);
    EXPECT_EQ(found, Pids({200, 201, 202}));
}

TEST(UserUnit, IdsAreOfScopesOfUsers) {
    const auto unit = unit_id("1000/tmux-spawn-1@x:y_z.scope");
    ASSERT_TRUE(unit);
    EXPECT_EQ(unit->uid, 1000U);
    EXPECT_EQ(unit->name, "tmux-spawn-1@x:y_z.scope");
    EXPECT_EQ(to_string(*unit), "1000/tmux-spawn-1@x:y_z.scope");
    EXPECT_TRUE(is_unit_id("0/a\\x2db.scope"));
    EXPECT_TRUE(is_unit_id("1000/work@1.service"));
    for (const auto *text : {"", "3", "c1", "/a.scope", "1000/.scope", "1000/..scope", "1000/a.socket", "1000/.service",
                             "1000/a/b.scope", "01/a.scope", "1000/a b.scope", "-1/a.scope", "4294967296/a.scope",
                             "1000/../a.scope", "x/a.scope", "1000a.scope"})
        EXPECT_FALSE(is_unit_id(text)) << text;
    EXPECT_FALSE(is_unit_id("1/" + std::string(250, 'a') + ".scope"));
    EXPECT_TRUE(is_unit_like("tmux*.scope", "tmux-1.scope"));
    EXPECT_TRUE(is_unit_like("w*.service", "work.service"));
    EXPECT_TRUE(is_unit_like("*", "tmux-1.scope"));
    EXPECT_FALSE(is_unit_like("*", "work.service")) << "services are named as such";
    EXPECT_EQ(user_unit("1000/abeyance-none.scope").error().code(), ENXIO);
    EXPECT_EQ(user_unit("1000/init.scope").error().code(), ENXIO) << "the manager itself";
}

TEST(Controllers, AreRefusedBeforeTheSuspend) {
    const auto directory =
        std::filesystem::path(testing::TempDir()) / fmt::format("abeyance-controllers-{}", ::getpid());
    ASSERT_TRUE(std::filesystem::create_directory(directory));
    const auto set = [&](const char *text) { std::ofstream(directory / "cgroup.subtree_control") << text; };
    set("\n");
    EXPECT_TRUE(refuse_controllers(directory));
    set("");
    EXPECT_TRUE(refuse_controllers(directory));
    set("cpu memory\n");
    const auto refused = refuse_controllers(directory);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("(cpu memory)"), std::string::npos) << refused.error().message();
    std::filesystem::remove_all(directory);
}

} // namespace
} // namespace abey::session
