// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/policy.h"

#include "ctl/client.h"
#include "ctl/output.h"
#include "dbus/names.h"
#include "engine/os/user.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<policy::Policy> policy_for_subject(const PolicyCommand &command) {
    auto policy = TRY(command.file.empty() ? policy::Policy::load_system() : policy::Policy::load(command.file));
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

namespace {

Result<int> check(const PolicyCommand &command) {
    const auto found = command.file.empty() ? policy::Policy::examine_system() : policy::Policy::examine(command.file);
    const bool is_fine = found.mistakes.empty();
    if (command.json) {
        auto mistakes = nlohmann::ordered_json::array();
        for (const auto &one : found.mistakes)
            mistakes.push_back({{"file", one.file},
                                {"line", one.line},
                                {"column", one.column},
                                {"key", one.key},
                                {"nearest", one.nearest},
                                {"message", one.message}});
        print_json({{"ok", is_fine}, {"mistakes", std::move(mistakes)}, {"warnings", found.warnings}});
        return is_fine ? 0 : 1;
    }
    for (const auto &one : found.mistakes)
        fmt::print(stderr, "abeyctl: {}\n", bus::printable(one.text()));
    for (const auto &warning : found.warnings)
        fmt::print(stderr, "abeyctl: {}\n", bus::printable(warning));
    if (is_fine)
        fmt::print("The policy is well-formed.\n");
    return is_fine ? 0 : 1;
}

// The daemon reads the files anew for each job; what it has planned already it plans anew.
Result<int> reload(const PolicyCommand &command) {
    if (!command.file.empty())
        return fail(0, "policy reload is about the system's policy: it takes no --file");
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
    if (command.action == "test")
        return test_policy(command);
    if (is_a_question(command))
        return fail(0,
                    "policy {} takes no path and nothing else to be tested; a file to be read instead of the "
                    "system's: --file",
                    command.action);
    if (command.action == "reload")
        return reload(command);
    return command.action == "show" ? show_policy(command) : check(command);
}

} // namespace abey::ctl
