// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/policy.h"

#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"
#include "engine/os/user.h"
#include "policy/file_system.h"

#include <sys/stat.h>
#include <sys/vfs.h>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

Result<policy::Policy> load(const std::string &file) {
    return file.empty() ? policy::Policy::load_system() : policy::Policy::load(file);
}

Result<policy::Policy> load_for_subject(const PolicyCommand &command) {
    auto policy = TRY(load(command.file));
    const bool is_session = !command.service.empty() || !command.tty.empty() || !command.unit.empty();
    if (command.user.empty() && !is_session)
        return policy;
    policy::Subject subject;
    if (!command.user.empty()) {
        const auto user = TRY(os::find_user(command.user));
        if (!user)
            return fail(0, "there is no user \"{}\"", command.user);
        subject = TRY(policy::subject_of(user->uid));
    }
    subject.is_session = is_session;
    subject.service = command.service;
    subject.tty = command.tty;
    subject.unit = command.unit;
    return policy.of(subject);
}

const char *word_of(policy::Act act) {
    switch (act) {
    case policy::Act::checkpoint:
        return "checkpoint";
    case policy::Act::suspend:
        return "suspend";
    case policy::Act::nothing:
        break;
    }
    return "nothing";
}

const char *word_of(policy::GraphicalScope scope) {
    switch (scope) {
    case policy::GraphicalScope::nothing:
        return "none";
    case policy::GraphicalScope::terminal_sessions:
        return "terminal-sessions";
    case policy::GraphicalScope::units:
        return "units";
    }
    return "";
}

const char *word_of(policy::OnLogin wish) {
    return wish == policy::OnLogin::automatic ? "auto" : wish == policy::OnLogin::ask ? "ask" : "never";
}

const char *word_of(policy::OnLoginEnd choice) {
    return choice == policy::OnLoginEnd::stay ? "stay" : choice == policy::OnLoginEnd::suspend ? "suspend" : "end";
}

const char *word_of(policy::OnDivergence choice) {
    switch (choice) {
    case policy::OnDivergence::private_home:
        return "private";
    case policy::OnDivergence::rollback:
        return "rollback";
    case policy::OnDivergence::keep:
        return "keep";
    default:
        return "fail";
    }
}

const char *word_of(policy::Pids pids) {
    return pids == policy::Pids::automatic ? "auto" : pids == policy::Pids::same ? "same" : "namespace";
}

nlohmann::ordered_json number_or_all(uint64_t number) {
    return number == policy::never ? nlohmann::ordered_json("all") : nlohmann::ordered_json(number);
}

std::string duration(uint64_t seconds) { return seconds == policy::never ? "never" : std::to_string(seconds) + " s"; }

// Values of all tables that are not rules, as TOML that could be read back.
Result<int> show(const PolicyCommand &command) {
    const auto policy = TRY(load_for_subject(command));
    const auto &service = policy.service();
    const auto &triggers = service.triggers;
    const auto &retention = service.retention;
    const auto &users = service.user_limits;
    nlohmann::ordered_json document{
        {"not-lasting", {{"paths", policy.not_lasting()}}},
        {"limits",
         {{"embed-limit", policy.limits().embed},
          {"embed-total-limit", policy.limits().embed_total},
          {"checkpoints-per-user", users.checkpoints},
          {"size-per-user", users.size},
          {"jobs-per-minute", users.jobs_per_minute},
          {"application-delay", duration(users.application_delay)}}},
        {"runtime-directory",
         {{"keep", policy.unheld()},
          {"leave", policy.left_unheld()},
          {"max-size", policy.unheld_limits().size},
          {"max-files", policy.unheld_limits().files}}},
        {"home",
         {{"provider", policy.home_provider_name()},
          {"verify", policy.home_verified().trees},
          {"verify-contents", policy.home_verified().contents},
          {"snapshot-directory", policy.home_snapshots().directory},
          {"snapshot-name", policy.home_snapshots().name},
          {"snapshot-layout", policy.home_snapshots().snapper ? "snapper" : "plain"},
          {"on-divergence", word_of(policy.on_divergence())}}},
        {"resume", {{"on-login", word_of(policy.resume_on_login())}, {"pids", word_of(policy.pids())}}},
        {"attach", {{"on-login-end", word_of(policy.on_login_end())}}},
        {"graphical",
         {{"scope", word_of(policy.service().graphical.scope)}, {"units", policy.service().graphical.units}}},
        {"triggers",
         {{"on-sleep", word_of(triggers.on_sleep)},
          {"on-shutdown", word_of(triggers.on_shutdown)},
          {"on-lock", word_of(triggers.on_lock)},
          {"on-idle", word_of(triggers.on_idle)},
          {"on-battery-low", word_of(triggers.on_battery_low)},
          {"first", triggers.first},
          {"units", triggers.units},
          {"idle-after", duration(triggers.idle_after)}}},
        {"retention",
         {{"checkpoints", retention.checkpoints},
          {"max-age", duration(retention.max_age)},
          {"suspended-max-age", duration(retention.suspended_max_age)},
          {"min-free", retention.min_free},
          {"displaced", number_or_all(retention.displaced)},
          {"displaced-max-age", duration(retention.displaced_max_age)}}}};
    // What of the policy is said of some only, and not shown here
    const auto sections = policy.sections();
    if (command.json) {
        if (!sections.empty())
            document["sections"] = sections;
        print_json(document);
        return 0;
    }
    for (const auto &[table, values] : document.items()) {
        fmt::print("[{}]\n", table);
        for (const auto &[key, value] : values.items())
            fmt::print("{} = {}\n", key, value.dump()); // of words and numbers JSON is TOML
        fmt::print("\n");
    }
    for (const auto &section : sections)
        fmt::print("# not shown: {}; see --user, --service, --tty, --unit\n", bus::printable(section));
    return 0;
}

Result<int> check(const PolicyCommand &command) {
    const auto policy = TRY(load(command.file));
    if (command.json) {
        print_json({{"ok", true}, {"warnings", policy.warnings()}});
        return 0;
    }
    for (const auto &warning : policy.warnings())
        fmt::print(stderr, "abeyctl: {}\n", bus::printable(warning));
    fmt::print("The policy is well-formed.\n");
    return 0;
}

// What would become of this file if it had no name any more (or, with one that does not last, as it is).
Result<int> test(const PolicyCommand &command) {
    const auto policy = TRY(load_for_subject(command));
    struct stat status {};
    struct statfs file_system {};
    if (::stat(command.path.c_str(), &status) < 0 || ::statfs(command.path.c_str(), &file_system) < 0)
        return fail(errno, "cannot examine {}", command.path);
    char *absolute = ::realpath(command.path.c_str(), nullptr);
    if (absolute == nullptr)
        return fail(errno, "cannot examine {}", command.path);
    const std::string path(absolute);
    std::free(absolute);
    const auto magic = static_cast<uint64_t>(file_system.f_type);
    const bool lasts = !policy::is_volatile(magic) && policy.lasts(path);
    const auto choice = policy.choose({.path = path,
                                       .size = static_cast<uint64_t>(status.st_size),
                                       .file_system = magic,
                                       .owner = status.st_uid,
                                       .state = lasts ? policy::FileState::deleted : policy::FileState::not_lasting,
                                       .writable = true});
    std::vector<std::string> strategies;
    std::string listed;
    for (const auto strategy : choice.strategies) {
        strategies.emplace_back(policy::strategy_name(strategy));
        listed += (listed.empty() ? "" : ", ") + strategies.back();
    }
    if (command.json) {
        print_json({{"path", path},
                    {"file-system", policy::file_system_name(magic)},
                    {"state", lasts ? "deleted" : "not-lasting"},
                    {"strategies", strategies},
                    {"rule", choice.rule},
                    {"area", policy.area(path)}});
        return 0;
    }
    fmt::print("{} ({}, {})\n", bus::printable(path), policy::file_system_name(magic),
               lasts ? "if it were deleted while it is held" : "its name does not last");
    fmt::print("strategies  {}\nrule        {}\narea        {}\n", listed, bus::printable(choice.rule),
               bus::printable(policy.area(path)));
    return 0;
}

// The daemon reads the files anew for each job; what it has planned already it plans anew.
Result<int> reload(const PolicyCommand &command) {
    if (!command.path.empty() || !command.file.empty())
        return fail(0, "policy reload is about the system's policy: it takes neither path nor file");
    auto client = TRY(Client::connect());
    TRY(client.reload_policy());
    if (command.json)
        print_json({{"ok", true}});
    else
        fmt::print("The policy is well-formed and in force.\n");
    return 0;
}

} // namespace

Result<int> policy_command(const PolicyCommand &command) {
    const bool is_about_somebody =
        !command.user.empty() || !command.service.empty() || !command.tty.empty() || !command.unit.empty();
    if (is_about_somebody && command.action != "show" && command.action != "test")
        return fail(0, "policy {} is about all users: it takes no --user, --service, --tty and --unit", command.action);
    if (command.action == "test") {
        if (command.path.empty())
            return fail(0, "policy test needs the path of a file");
        return test(command);
    }
    if (command.action == "reload")
        return reload(command);
    if (!command.path.empty())
        return fail(0, "policy {} takes no path; a file to be read instead of the system's: --file", command.action);
    return command.action == "show" ? show(command) : check(command);
}

} // namespace abey::ctl
