// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/battery.h"
#include "daemon/checkpoints.h"
#include "daemon/client_list.h"
#include "daemon/known_policy.h"
#include "daemon/late_terminals.h"
#include "daemon/login_ends.h"
#include "daemon/logins.h"
#include "daemon/manager.h"
#include "daemon/options.h"
#include "daemon/preparation.h"
#include "daemon/rate.h"
#include "daemon/retention.h"
#include "daemon/terminal_message.h"
#include "daemon/turns.h"

#include "dbus/names.h"
#include "engine/os/fd.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string_view>
#include <thread>

#include <pty.h>

#include <gtest/gtest.h>

namespace abey::daemon {
namespace {

TEST(Options, AreTakenWhenKnownAndOfTheRightType) {
    EXPECT_FALSE(suspend_options({}).value().keep_running);
    const auto suspend = suspend_options({{"keep-running", true}, {"after-disconnect", true}});
    ASSERT_TRUE(suspend);
    EXPECT_TRUE(suspend->keep_running);
    EXPECT_TRUE(suspend->after_disconnect);
    const auto resume = resume_options({{"pids", std::string("same")}, {"on-divergence", std::string("fail")}});
    ASSERT_TRUE(resume);
    EXPECT_EQ(resume->pids, "same");
    EXPECT_EQ(resume->on_divergence, "fail");
}

TEST(Options, AreRefusedOtherwise) {
    const auto refused = [](const auto &answer) {
        return !answer && std::string_view(answer.error().name) == bus::error::invalid_argument;
    };
    EXPECT_TRUE(refused(suspend_options({{"keep-runing", true}})));
    EXPECT_TRUE(refused(suspend_options({{"keep-running", std::string("yes")}})));
    EXPECT_TRUE(refused(suspend_options({{"trigger", std::string("sleep")}}))) << "not for callers to say";
    EXPECT_EQ(suspend_options({{"trigger", std::string("timer")}}).value().trigger, "timer");
    EXPECT_TRUE(refused(prune_options({{"dry-run", std::string("yes")}})));
    EXPECT_TRUE(prune_options({{"dry-run", true}}).value().dry_run);
    EXPECT_TRUE(refused(suspend_options({{"pids", std::string("same")}})));
    EXPECT_TRUE(refused(resume_options({{"pids", std::string("")}})));
    EXPECT_TRUE(refused(resume_options({{"pids", std::string("Same")}})));
    EXPECT_TRUE(refused(resume_options({{"pids", true}})));
    EXPECT_TRUE(refused(resume_options({{"on-divergence", std::string("merge")}})));
}

TEST(KnownPolicy, IsReadAgainWhenItHasChanged) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "policy files are root's";
    namespace fs = std::filesystem;
    std::string root = fs::temp_directory_path() / "abeyance-policy-XXXXXX";
    ASSERT_NE(::mkdtemp(root.data()), nullptr);
    const std::string vendor = root + "/usr/lib/abeyance/policy.d/";
    const std::string local = root + "/etc/abeyance/";
    fs::create_directories(vendor);
    fs::create_directories(local + "policy.d");
    ASSERT_TRUE(write_file(vendor + "10-a.toml", ""));
    ASSERT_TRUE(write_file(vendor + "20-b.toml", ""));
    ASSERT_TRUE(write_file(local + "policy.toml", ""));
    ASSERT_TRUE(write_file(local + "policy.d/30-c.toml", ""));
    fs::create_symlink("/dev/null", local + "policy.d/20-b.toml");
    KnownPolicy known(root);
    EXPECT_EQ(known.files(),
              (std::vector<std::string>{local + "policy.toml", vendor + "10-a.toml", local + "policy.d/30-c.toml"}));
    const auto is_wrong = [&] { return known.problem().find("policy.toml:") != std::string::npos; };
    for (int round = 0; round < 20; ++round) { // changes that follow each other faster than the clock of files
        ASSERT_TRUE(write_file(local + "policy.toml", "[triggers]\non-lok = 1\n"));
        EXPECT_TRUE(is_wrong());
        ASSERT_TRUE(write_file(local + "policy.toml", "#triggers]\n#n-lok = 1\n"));
        EXPECT_FALSE(is_wrong());
    }
    fs::remove_all(root);
}

class Sizing : public testing::Test {
  protected:
    void SetUp() override {
        root_ = std::filesystem::temp_directory_path() / "abeyance-sizes-XXXXXX";
        ASSERT_NE(::mkdtemp(root_.data()), nullptr);
    }
    void TearDown() override { std::filesystem::remove_all(root_); }
    void make(const std::string &id, uint32_t uid) const {
        const store::Store store(root_);
        ASSERT_TRUE(store.begin({.id = id, .uid = uid, .home = "/home/x", .created = 1}));
        std::filesystem::create_directory(store.images(id));
        ASSERT_TRUE(write_file(store.images(id) + "/manifest", "m"));
    }
    std::string root_;
};

TEST_F(Sizing, OnlyOnesOwnAreMeasuredAndOnce) {
    make("hers", 1000);
    make("his", 1001);
    const store::Store store(root_);
    Sizes sizes;
    const auto hers = checkpoints(store, 1000, &sizes);
    ASSERT_TRUE(hers) << hers.error().message();
    ASSERT_EQ(hers->size(), 1U);
    EXPECT_EQ(hers->front().id, "hers");
    EXPECT_EQ(sizes.count(), 1U) << "another's was not measured";
    ASSERT_TRUE(write_file(store.images("hers") + "/more", std::string(1U << 20U, 'x')));
    const Fd more = std::move(*open_file(store.images("hers") + "/more", O_RDONLY));
    ::fsync(more.get()); // blocks are counted when they are allocated
    EXPECT_EQ(checkpoints(store, 1000, &sizes)->front().size, hers->front().size);
    sizes.forget();
    EXPECT_GE(checkpoints(store, 1000, &sizes)->front().size, hers->front().size + (1U << 20U));
    EXPECT_EQ(checkpoints(store)->size(), 2U);
}

TEST(Turns, AreTakenByUsersWithinARank) {
    struct One {
        int rank;
        uid_t user;
        std::string name;
    };
    const auto turns = in_turns(
        std::deque<One>{{1, 7, "a"}, {1, 7, "b"}, {1, 7, "c"}, {1, 8, "d"}, {0, 9, "e"}, {0, 9, "f"}, {1, 6, "g"}},
        [](const One &one) { return one.rank; }, [](const One &one) { return one.user; });
    std::string order;
    for (const auto &one : turns)
        order += one.name;
    EXPECT_EQ(order, "efadgbc");
}

TEST(LateTerminals, NobodyTakesAllThePlaces) {
    std::vector<uid_t> waiting;
    while (has_place(waiting, 1000))
        waiting.push_back(1000);
    EXPECT_EQ(waiting.size(), 8U);
    EXPECT_TRUE(has_place(waiting, 1001));
    for (uid_t uid = 2000; waiting.size() < 64; ++uid)
        waiting.push_back(uid);
    EXPECT_FALSE(has_place(waiting, 1001)) << "all together have a limit, too";
}

TEST(LateTerminals, AreLookedForLessAndLessOften) {
    std::vector<uint64_t> pauses;
    uint64_t waited = 0;
    for (uint64_t pause = 0; (pause = pause_after(waited)) != 0; waited += pause)
        pauses.push_back(pause);
    EXPECT_EQ(pauses.front(), 250'000U);
    EXPECT_TRUE(std::ranges::is_sorted(pauses));
    EXPECT_LE(pauses.back(), 2'000'000U);
    EXPECT_LT(pauses.size(), 25U) << "four times a second it were 80";
    EXPECT_GE(waited, 20'000'000U);
}

TEST(LastLogins, AreTheLastThatASessionWasAttachedToFrom) {
    using Lists = std::map<std::string, std::vector<std::string>>;
    using Names = std::vector<std::string>;
    LastLogins logins;
    EXPECT_EQ(logins.lost({{"c1", {"1"}}}, {"2", "c1"}), Names()) << "it ended before anybody looked";
    EXPECT_EQ(logins.lost({{"c1", {"1"}}}, {"2", "3", "c1"}), Names());
    const Lists lists = {{"c1", {"1", "2", "3"}}, {"c2", {"2"}}, {"c3", {}}, {"c4", {"4"}}};
    EXPECT_EQ(logins.lost(lists, {"3", "c1", "c2", "c3", "c4"}), Names({"c2"})) << "c1 has one left";
    EXPECT_EQ(logins.lost(lists, {"3", "c1", "c2", "c3", "c4"}), Names()) << "told once";
    EXPECT_EQ(logins.lost(lists, {"5", "c1", "c2", "c3", "c4"}), Names({"c1"}));
    EXPECT_EQ(logins.lost({{"c1", {"1", "2", "3", "5"}}}, {"5", "c1"}), Names()) << "attached to from another since";
    EXPECT_EQ(logins.lost({{"c1", {"1", "2", "3", "5"}}}, {"c1"}), Names({"c1"}));
}

TEST(Battery, IsToldToBeLowOnce) {
    LowOnce state;
    EXPECT_FALSE(state.on_level(1));
    EXPECT_TRUE(state.on_level(3));
    EXPECT_FALSE(state.on_level(3)) << "twice";
    EXPECT_FALSE(state.on_level(4)) << "lower still";
    EXPECT_FALSE(state.on_level(0)) << "UPower is started again";
    EXPECT_FALSE(state.on_level(4));
    EXPECT_FALSE(state.on_level(1)) << "charged";
    EXPECT_TRUE(state.on_level(5)) << "the steps before were lost";
}

TEST(Checkpoints, AreListedWhileOthersAreRemoved) {
    namespace fs = std::filesystem;
    std::string root = fs::temp_directory_path() / "abeyance-daemon-XXXXXX";
    ASSERT_NE(::mkdtemp(root.data()), nullptr);
    const store::Store store(root);
    const auto make = [&](const std::string &id) {
        fs::create_directories(store.images(id));
        EXPECT_TRUE(write_file(store.directory(id) + "/about.json", store::to_json({.id = id, .uid = 1000})));
        EXPECT_TRUE(write_file(store.images(id) + "/manifest", "m"));
    };
    make("stays");
    std::atomic<bool> over = false;
    std::thread remover([&] {
        while (!over) {
            make("goes");
            fs::rename(store.directory("goes"), root + "/.removing-goes");
            fs::remove_all(root + "/.removing-goes");
        }
    });
    Result<std::vector<Checkpoint>> listed;
    for (int i = 0; i < 3000; ++i)
        if (listed = checkpoints(store); !listed)
            break;
    over = true;
    remover.join();
    fs::remove_all(root);
    ASSERT_TRUE(listed) << listed.error().message();
    ASSERT_GE(listed->size(), 1U);
    EXPECT_EQ(std::ranges::count(*listed, "stays", &Checkpoint::id), 1);
}

session::Session login(const char *service) {
    return {.id = "7", .uid = 1000, .user = "ada", .tty = "tty2", .type = "tty", .klass = "user", .service = service};
}

TEST(Logins, OnlyPersonsAtTerminalsCount) {
    EXPECT_TRUE(is_login_of_a_person(login("login")));
    EXPECT_TRUE(is_login_of_a_person(login("sshd")));
    for (const auto *service : {"abeyance", "cron", "crond", "atd", "su-l", "sudo", "runuser-l", "systemd-user"})
        EXPECT_FALSE(is_login_of_a_person(login(service))) << service;
    auto other = login("login");
    other.klass = "background";
    EXPECT_FALSE(is_login_of_a_person(other));
    for (const auto *klass : {"manager", "greeter", "lock-screen", "user-incomplete", "none", ""}) {
        other.klass = klass;
        EXPECT_FALSE(is_login_of_a_person(other)) << klass;
    }
    other.klass = "user-early"; // root's, since systemd 256
    EXPECT_TRUE(is_login_of_a_person(other));
    other = login("sddm");
    other.type = "wayland";
    EXPECT_FALSE(is_login_of_a_person(other));
    other = login("sshd");
    other.tty = ""; // scp
    EXPECT_FALSE(is_login_of_a_person(other));
    EXPECT_TRUE(may_get_a_terminal(other));
    EXPECT_FALSE(may_get_a_terminal(login("cron")));
}

TEST(Logins, SshdTellsItsTerminalInItsTitle) {
    EXPECT_EQ(terminal_in_title("sshd: ada@pts/3"), "pts/3");
    EXPECT_EQ(terminal_in_title("sshd-session: ada@pts/12"), "pts/12");
    for (const auto *other : {"sshd: ada [priv]", "sshd: ada@notty", "sshd: ada@pts/", "sshd: ada@pts/1,pts/2", "-bash",
                              "vim ada@pts/3", "sshd: ada@pts/123456789"})
        EXPECT_EQ(terminal_in_title(other), "") << other;
}

TEST(Logins, BringTheYoungestWaitingOneBack) {
    const std::vector<Checkpoint> all{{.id = "a", .uid = 1000, .created = 1, .state = "waiting"},
                                      {.id = "b", .uid = 1000, .created = 3, .state = "waiting"},
                                      {.id = "c", .uid = 1000, .created = 2, .state = "waiting"},
                                      {.id = "d", .uid = 1000, .created = 4, .state = "resumed"},
                                      {.id = "e", .uid = 1001, .created = 5, .state = "waiting"},
                                      {.id = "f", .uid = 1000, .created = 6, .state = "waiting", .kept_running = true}};
    EXPECT_EQ(waiting_for(1000, all).value().id, "b");
    EXPECT_EQ(waiting_for(1001, all).value().id, "e");
    EXPECT_FALSE(waiting_for(0, all));
    EXPECT_EQ(waiting_besides(all[1], all), 2U) << "neither what was resumed, nor an insurance, nor another user's";
    EXPECT_EQ(waiting_besides(all[4], all), 0U);
    EXPECT_EQ(waiting_text(all[4]), waiting_text(all[4], 0));
    EXPECT_TRUE(waiting_text(all[1], 1).ends_with("\nAnd 1 more waits: abeyctl list"));
    EXPECT_TRUE(not_resumed_text(all[1], "no", 2).ends_with("\nAnd 2 more wait: abeyctl list"));
    EXPECT_EQ(resumed_text(all[1], "c1").find("more"), std::string::npos);
}

TEST(Logins, SeeWhoElseIsThere) {
    const auto session = [](const char *id, uid_t uid, const char *klass = "user", const char *state = "online") {
        return session::Session{.id = id, .uid = uid, .cgroup = "/sys/fs/cgroup/x", .klass = klass, .state = state};
    };
    const auto here = login("login");
    const auto beside = [&](const session::Session &other) {
        return session_beside(here, std::array{session("7", 1000), other});
    };
    EXPECT_EQ(beside(session("8", 1000)), "8");
    EXPECT_EQ(beside(session("8", 1001)), "") << "somebody else's";
    EXPECT_EQ(beside(session("8", 1000, "manager")), "");
    EXPECT_EQ(beside(session("8", 1000, "user", "closing")), "");
}

TEST(Logins, AreAnsweredOncePerCheckpoint) {
    std::string pattern = std::filesystem::temp_directory_path() / "abeyance-login-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    const std::string &directory = pattern;
    EXPECT_TRUE(first_attempt("a", directory + "/marks").value());
    EXPECT_FALSE(first_attempt("a", directory + "/marks").value());
    EXPECT_TRUE(first_attempt("b", directory + "/marks").value());
    EXPECT_FALSE(first_attempt("../a", directory + "/marks"));
    std::filesystem::remove_all(directory);
}

TEST(TerminalMessage, GoesOnlyToTheUsersOwnTerminal) {
    int master = -1;
    int slave = -1;
    std::array<char, 64> name{};
    ASSERT_EQ(::openpty(&master, &slave, name.data(), nullptr, nullptr), 0);
    const Fd owner(master);
    const Fd other_end(slave);
    const auto tty = std::string(name.data()).substr(std::string_view("/dev/").size());
    struct stat status {};
    ASSERT_EQ(::fstat(slave, &status), 0);

    const auto written = write_to_terminal(tty, status.st_uid, "hello \x1b[2J");
    ASSERT_TRUE(written) << written.error().message();
    std::array<char, 128> seen{};
    ASSERT_GT(::read(master, seen.data(), seen.size() - 1), 0);
    EXPECT_NE(std::string_view(seen.data()).find("hello \\x1b[2J"), std::string_view::npos);

    EXPECT_EQ(write_to_terminal(tty, status.st_uid + 1, "x").error().code(), EPERM);
    EXPECT_EQ(write_to_terminal("null", 0, "x").error().code(), EPERM);
    for (const auto *bad : {"", "/dev/null", "../etc/passwd", "pts/../null", "pts/1\n"})
        EXPECT_EQ(write_to_terminal(bad, 0, "x").error().code(), EINVAL) << bad;
}

TEST(Logins, OfferAnInsuranceWhenItsSessionIsGone) {
    const std::vector<Checkpoint> all{
        {.id = "a", .uid = 1000, .created = 1, .state = "waiting", .kept_running = true, .this_boot = false},
        {.id = "b", .uid = 1000, .created = 2, .state = "waiting", .kept_running = true, .this_boot = false},
        {.id = "c", .uid = 1000, .created = 3, .state = "waiting", .kept_running = true, .this_boot = true},
        {.id = "d", .uid = 1001, .created = 4, .state = "waiting", .kept_running = true, .this_boot = true}};
    EXPECT_EQ(insurance_for(1000, all).value().id, "b");
    EXPECT_FALSE(insurance_for(1001, all)) << "it may run still";
}

TEST(Preparation, TakesSignalsAsTheyCome) {
    using enum Preparation::Step;
    constexpr uint64_t second = 1'000'000;
    Preparation one;
    EXPECT_EQ(one.on_signal(false, 0), over) << "the first half was lost";
    EXPECT_EQ(one.on_signal(true, second), begin);
    EXPECT_EQ(one.on_signal(true, 2 * second), ignore) << "twice, at work";
    one.on_done(3 * second);
    EXPECT_FALSE(one.is_working());
    EXPECT_EQ(one.on_signal(true, 4 * second), ignore) << "twice, done";
    EXPECT_EQ(one.on_signal(false, 5 * second), over);
    EXPECT_EQ(one.on_signal(false, 5 * second), over);
    EXPECT_EQ(one.on_signal(true, 6 * second), begin) << "a new pair, however soon";
    one.on_done(7 * second);
    EXPECT_EQ(one.on_signal(true, 60 * second), begin) << "the second half was lost";
    EXPECT_EQ(one.on_signal(false, 61 * second), over);
    EXPECT_FALSE(one.is_working()) << "over before it was done";
    one.on_done(62 * second);
    EXPECT_EQ(one.on_signal(true, 63 * second), begin) << "what was done late does not count for the next";
}

TEST(GivingWay, IsForWhatIsWorthLessThanTheSession) {
    const job::Job suspend{.kind = job::Kind::suspend, .uid = 1000, .session = "3"};
    auto checkpoint = suspend;
    checkpoint.keep_running = true;
    const auto there = [](job::Job job, bool started) {
        RunningJob running;
        running.job = std::move(job);
        running.started = started;
        return running;
    };
    EXPECT_TRUE(gives_way(there(checkpoint, true), suspend)) << "an insurance";
    EXPECT_FALSE(gives_way(there(checkpoint, true), checkpoint)) << "as good as the one that is wanted";
    EXPECT_TRUE(gives_way(there(suspend, false), suspend)) << "waits for a caller to leave, or an application";
    EXPECT_FALSE(gives_way(there(suspend, false), checkpoint)) << "more than is wanted";
    EXPECT_FALSE(gives_way(there(suspend, true), suspend)) << "it does what is wanted";
    const job::Job check{.kind = job::Kind::check, .uid = 1000, .session = "3", .question = "explain"};
    EXPECT_TRUE(gives_way(there(check, true), suspend));
    EXPECT_TRUE(gives_way(there(check, true), checkpoint));
    EXPECT_FALSE(gives_way(there({.kind = job::Kind::resume, .uid = 1000, .checkpoint = "c"}, true), suspend))
        << "the user waits for it";
    EXPECT_FALSE(gives_way(there({.kind = job::Kind::check, .uid = 1000, .session = "4"}, true), suspend))
        << "not in the way";
    auto canceled = there(checkpoint, true);
    canceled.canceled = true;
    EXPECT_FALSE(gives_way(canceled, suspend)) << "it does so already";

    EXPECT_TRUE(makes_up_for(suspend, "3", policy::Act::suspend));
    EXPECT_TRUE(makes_up_for(suspend, "3", policy::Act::checkpoint));
    EXPECT_TRUE(makes_up_for(checkpoint, "3", policy::Act::checkpoint));
    EXPECT_FALSE(makes_up_for(checkpoint, "3", policy::Act::suspend));
    EXPECT_FALSE(makes_up_for(suspend, "4", policy::Act::suspend));
    EXPECT_FALSE(makes_up_for(check, "3", policy::Act::checkpoint));
}

TEST(Rate, RefillsEvenlyForEachUser) {
    constexpr uint64_t second = 1'000'000;
    Rate rate;
    for (int i = 0; i < 6; i++)
        EXPECT_TRUE(rate.take(1000, 6, second)) << i;
    EXPECT_FALSE(rate.take(1000, 6, second));
    EXPECT_TRUE(rate.take(1001, 6, second)) << "another user's is another bucket";
    EXPECT_FALSE(rate.take(1000, 6, 10 * second));
    EXPECT_TRUE(rate.take(1000, 6, 11 * second + 1000)) << "one each ten seconds";
    EXPECT_FALSE(rate.take(1000, 6, 12 * second));
    EXPECT_TRUE(rate.take(1000, 6, 200 * second));
    EXPECT_FALSE(rate.take(1002, 0, second));
}

TEST(Clients, HaveNoPlacesOfOtherUsers) {
    ClientList list;
    const auto add = [&list](uid_t uid, size_t number) { return list.add(fmt::format(":{}.{}", uid, number), uid); };
    for (size_t i = 0; i < ClientList::user_limit; i++)
        EXPECT_TRUE(add(1000, i)) << i;
    EXPECT_FALSE(add(1000, ClientList::user_limit));
    EXPECT_TRUE(add(1000, 0)) << "it is known already";
    EXPECT_TRUE(add(1001, 0));
    list.remove(":1000.0");
    list.remove(":1000.0");
    EXPECT_TRUE(add(1000, ClientList::user_limit));
    EXPECT_FALSE(add(1000, 0));

    constexpr auto users = ClientList::limit / ClientList::user_limit;
    for (uid_t user = 2000; user < 2000 + users; user++)
        for (size_t i = 0; i < ClientList::user_limit; i++)
            add(user, i);
    EXPECT_EQ(static_cast<size_t>(std::ranges::distance(list)), ClientList::limit);
    EXPECT_FALSE(add(1002, 0));
    for (size_t i = 0; i < 2 * ClientList::limit; i++)
        EXPECT_TRUE(add(0, i)) << "root's always have one";
    list.remove(":1001.0");
    EXPECT_TRUE(add(1002, 0));
}

constexpr uint64_t day = 86400ULL * 1'000'000;

// `age` in days.
Checkpoint kept(const char *id, uint64_t age, bool kept_running = true, uint32_t uid = 1000) {
    return {.id = id,
            .uid = uid,
            .created = (100 - age) * day,
            .size = 100,
            .state = "waiting",
            .kept_running = kept_running};
}

std::string ids(const std::vector<Pruned> &pruned) {
    std::string all;
    for (const auto &one : pruned)
        all += one.id;
    return all;
}

TEST(Retention, KeepsTheYoungestOfEachUser) {
    const std::vector<Checkpoint> all{kept("a", 9), kept("b", 8),        kept("x", 7, true, 1001),
                                      kept("c", 6), kept("s", 5, false), kept("d", 4)};
    const policy::Retention rules{.checkpoints = 2, .max_age = policy::never, .min_free = 0};
    EXPECT_EQ(ids(to_prune(all, rules, 100 * day, 0)), "ba");
    EXPECT_EQ(ids(to_prune(all, {.checkpoints = 0, .max_age = policy::never, .min_free = 0}, 100 * day, 0)), "dcxba")
        << "a suspended session is none of them";
    auto pinned = all;
    pinned[0].pinned = true;
    EXPECT_EQ(ids(to_prune(pinned, rules, 100 * day, 0)), "b");
    pinned[5].pinned = true;
    EXPECT_EQ(ids(to_prune(pinned, rules, 100 * day, 0)), "") << "what is pinned does not count";
}

TEST(Retention, GoesByAge) {
    const std::vector<Checkpoint> all{kept("a", 30), kept("s", 30, false), kept("b", 29)};
    policy::Retention rules{.checkpoints = 10, .max_age = uint64_t{30} * 86400, .min_free = 0};
    EXPECT_EQ(ids(to_prune(all, rules, 100 * day, 0)), "a");
    rules.suspended_max_age = 86400;
    EXPECT_EQ(ids(to_prune(all, rules, 100 * day, 0)), "as");
    EXPECT_EQ(ids(to_prune(all, rules, 60 * day, 0)), "") << "the clock was set back";
    rules.max_age = policy::never;
    rules.suspended_max_age = policy::never;
    EXPECT_EQ(ids(to_prune(all, rules, 10'000 * day, 0)), "");
}

TEST(Retention, KeepsDisplacedHomesUnlessToldOtherwise) {
    const auto put_aside = [](const std::string &place, uint64_t days, uint32_t uid = 1000) {
        return DisplacedHome{.name = "r" + place, .uid = uid, .place = place, .created = (100 - days) * day};
    };
    std::vector<DisplacedHome> homes{put_aside("a", 40), put_aside("b", 30), put_aside("x", 20, 1001),
                                     put_aside("c", 10)};
    EXPECT_EQ(ids(to_prune(homes, {}, 100 * day)), "");
    EXPECT_EQ(ids(to_prune(homes, {.displaced = 1}, 100 * day)), "ab");
    EXPECT_EQ(ids(to_prune(homes, {.displaced_max_age = uint64_t{30} * 86400}, 100 * day)), "ab");
    EXPECT_EQ(ids(to_prune(homes, {.displaced_max_age = uint64_t{31} * 86400}, 100 * day)), "a");
    EXPECT_EQ(to_prune(homes, {.displaced = 0}, 100 * day).front().displaced, "ra");
    EXPECT_EQ(ids(to_prune(homes, {}, 100 * day, {{1001, {.displaced = 0}}})), "x");
    homes[3].needed = true;
    EXPECT_EQ(ids(to_prune(homes, {.displaced = 1}, 100 * day)), "a") << "what is needed does not count";
}

TEST(Retention, MakesRoomWithTheOldestAndStopsThen) {
    const std::vector<Checkpoint> all{kept("s", 5, false), kept("a", 4), kept("b", 3), kept("c", 2)};
    const policy::Retention rules{.checkpoints = 10, .max_age = policy::never, .min_free = 1000};
    EXPECT_EQ(ids(to_prune(all, rules, 100 * day, 1000)), "");
    EXPECT_EQ(ids(to_prune(all, rules, 100 * day, 850)), "ab");
    EXPECT_EQ(ids(to_prune(all, rules, 100 * day, 0)), "abc") << "never the suspended session";
}

} // namespace
} // namespace abey::daemon
