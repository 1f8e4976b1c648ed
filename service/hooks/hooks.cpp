// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hooks/hooks.h"

#include "engine/os/program.h"
#include "engine/os/user.h"

#include <algorithm>

#include <nlohmann/json.hpp>
#include <unistd.h>

namespace abey::hooks {
namespace {

bool is_pre(policy::HookEvent event) {
    return event == policy::HookEvent::pre_suspend || event == policy::HookEvent::pre_resume;
}

std::string input_of(policy::HookEvent event, const Facts &facts) {
    nlohmann::json json = {{"event", policy::name_of(event)},
                           {"checkpoint", facts.checkpoint},
                           {"user", facts.user},
                           {"uid", facts.uid},
                           {"home", facts.home},
                           {"session", facts.session},
                           {"keep_running", facts.keep_running},
                           {"trigger", facts.trigger},
                           {"details", nlohmann::json::object()}};
    if (auto details = nlohmann::json::parse(facts.details, nullptr, false); details.is_object())
        json["details"] = std::move(details);
    if (!is_pre(event)) {
        json["ok"] = facts.error.empty();
        json["error"] = facts.error;
    }
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// A value with a zero byte cannot be passed on; there is none in what the user database and systemd tell.
std::vector<std::string> environment_of(policy::HookEvent event, const Facts &facts, bool as_user) {
    std::vector<std::string> all = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                    "LC_ALL=C",
                                    fmt::format("ABEYANCE_EVENT={}", policy::name_of(event)),
                                    "ABEYANCE_CHECKPOINT=" + facts.checkpoint,
                                    "ABEYANCE_USER=" + facts.user,
                                    fmt::format("ABEYANCE_UID={}", facts.uid),
                                    "ABEYANCE_HOME=" + facts.home,
                                    "ABEYANCE_SESSION=" + facts.session};
    if (!is_pre(event))
        all.push_back(std::string("ABEYANCE_RESULT=") + (facts.error.empty() ? "ok" : "failed"));
    if (as_user)
        all.insert(all.end(), {"USER=" + facts.user, "LOGNAME=" + facts.user, "HOME=" + facts.home});
    return all;
}

Result<> run_one(const policy::HookRule &rule, policy::HookEvent event, const Facts &facts) {
    Program program{.arguments = rule.command,
                    .environment = environment_of(event, facts, rule.as_user),
                    .input = input_of(event, facts),
                    .directory = rule.as_user ? facts.home : "/",
                    .limit = std::chrono::seconds(rule.time_limit),
                    .as = {},
                    .user = facts.user};
    auto &path = program.arguments.front();
    if (path.starts_with("~/"))
        path = facts.home + path.substr(1);
    if (rule.as_user)
        program.as = {facts.uid, TRY(os::user_of(facts.uid)).gid};
    if (rule.optional && ::access(path.c_str(), F_OK) != 0)
        return {};
    TRY(run_program(program));
    return {};
}

} // namespace

Result<> run(const std::vector<policy::HookRule> &rules, policy::HookEvent event, const Facts &facts) {
    Result<> first;
    for (const policy::HookRule &rule : rules) {
        if (std::ranges::find(rule.events, event) == rule.events.end())
            continue;
        if (!rule.users.empty() && std::ranges::find(rule.users, facts.user) == rule.users.end())
            continue;
        auto done = run_one(rule, event, facts);
        if (done)
            continue;
        auto failed = within(std::move(done).error(), "{} hook ({})", policy::name_of(event), rule.origin);
        if (is_pre(event))
            return failed;
        if (first)
            first = std::move(failed);
    }
    return first;
}

} // namespace abey::hooks
