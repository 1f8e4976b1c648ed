// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/output.h"
#include "ctl/policy.h"
#include "dbus/names.h"
#include "policy/file_system.h"
#include "policy/words.h"

#include <algorithm>
#include <array>

#include <linux/magic.h>
#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

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

// Values of all tables that are not rules; sizes in bytes.
nlohmann::ordered_json values_of(const policy::Policy &policy) {
    const auto &service = policy.service();
    const auto &triggers = service.triggers;
    const auto &retention = service.retention;
    const auto &users = service.user_limits;
    return {{"not-lasting", {{"paths", policy.not_lasting()}}},
            {"limits",
             {{"embed-limit", policy.limits().embed},
              {"embed-total-limit", policy.limits().embed_total},
              {"checkpoints-per-user", users.checkpoints},
              {"size-per-user", users.size},
              {"jobs-per-minute", users.jobs_per_minute},
              {"application-delay", policy::duration_text(users.application_delay)}}},
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
              {"idle-after", policy::duration_text(triggers.idle_after)}}},
            {"retention",
             {{"checkpoints", retention.checkpoints},
              {"max-age", policy::duration_text(retention.max_age)},
              {"suspended-max-age", policy::duration_text(retention.suspended_max_age)},
              {"min-free", retention.min_free},
              {"displaced", number_or_all(retention.displaced)},
              {"displaced-max-age", policy::duration_text(retention.displaced_max_age)}}}};
}

constexpr std::array sizes = {"embed-limit", "embed-total-limit", "size-per-user", "max-size", "min-free"};
constexpr std::array lists = {"file", "area", "peer", "device", "pin", "changed", "hook"};

std::string built_in_strategies(const char *what, policy::FileFacts file) {
    std::string listed;
    for (const auto strategy : policy::Policy::defaults().choose(file).strategies)
        listed += (listed.empty() ? "" : ", ") + std::string(policy::strategy_name(strategy));
    return fmt::format("{}: {}", what, listed);
}

// What holds where no rule of the list matches; in words, since not all of it could be written as a rule.
std::string built_in(std::string_view list) {
    using enum policy::FileState;
    constexpr auto on_disk = [](policy::FileState state) {
        return policy::FileFacts{.path = "/", .file_system = EXT4_SUPER_MAGIC, .state = state};
    };
    if (list == "file")
        return fmt::format(
            "{}; {}; {}; {}", built_in_strategies("in memory", {.path = "/", .file_system = TMPFS_MAGIC}),
            built_in_strategies("linked", on_disk(linked)), built_in_strategies("unnamed", on_disk(unnamed)),
            built_in_strategies("otherwise", on_disk(deleted)));
    if (list == "area")
        return policy::Policy::defaults().area("/");
    if (list == "peer")
        return "hangup; of unix sockets, reconnect to the journal and to agents of ssh";
    if (list == "device")
        return "fail; replace for terminals";
    if (list == "changed")
        return "fail";
    return "none";
}

nlohmann::ordered_json as_json(const policy::Policy &policy) {
    auto document = values_of(policy);
    auto origins = nlohmann::ordered_json::object();
    for (const auto &[table, values] : document.items())
        for (const auto &[key, value] : values.items())
            if (const auto origin = policy.origin(fmt::format("{}.{}", table, key)); !origin.empty())
                origins[fmt::format("{}.{}", table, key)] = origin;
    for (const char *list : lists) {
        document[list] = nlohmann::ordered_json::array();
        for (const auto &rule : policy.written(list))
            document[list].push_back(
                {{"rule", nlohmann::ordered_json::parse(rule.json, nullptr, false)}, {"origin", rule.origin}});
    }
    document["origins"] = std::move(origins);
    if (const auto sections = policy.sections(); !sections.empty())
        document["sections"] = sections;
    return document;
}

void print_values(const policy::Policy &policy) {
    const auto document = values_of(policy);
    for (const auto &[table, values] : document.items()) {
        fmt::print("[{}]\n", table);
        for (const auto &[key, value] : values.items()) {
            const bool is_size = std::ranges::find(sizes, key) != sizes.end();
            const auto origin = policy.origin(fmt::format("{}.{}", table, key));
            // of words and numbers JSON is TOML
            const auto text = is_size ? nlohmann::json(policy::size_text(value.get<uint64_t>())).dump() : value.dump();
            fmt::print("{} = {}  # {}\n", key, text, origin.empty() ? "built in" : bus::printable(origin));
        }
        fmt::print("\n");
    }
}

void print_rules(const policy::Policy &policy) {
    for (const char *list : lists) {
        for (const auto &rule : policy.written(list)) {
            fmt::print("[[{}]]  # {}\n", list, bus::printable(rule.origin));
            for (std::string_view rest = rule.text; !rest.empty();) {
                const auto line = rest.substr(0, rest.find('\n'));
                fmt::print("{}\n", bus::printable(line));
                rest.remove_prefix(std::min(line.size() + 1, rest.size()));
            }
            fmt::print("\n");
        }
        fmt::print("# [[{}]]: {}, as built in: {}\n\n", list,
                   policy.written(list).empty() ? "no rules" : "where none of these matches", built_in(list));
    }
}

} // namespace

// As TOML that could be read back.
Result<int> show_policy(const PolicyCommand &command) {
    const auto policy = TRY(policy_for_subject(command));
    if (command.json) {
        print_json(as_json(policy));
        return 0;
    }
    print_values(policy);
    print_rules(policy);
    // What of the policy is said of some only, and not shown here
    for (const auto &section : policy.sections())
        fmt::print("# not shown: {}; see --user, --service, --tty, --unit\n", bus::printable(section));
    return 0;
}

} // namespace abey::ctl
