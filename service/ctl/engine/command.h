// SPDX-License-Identifier: LGPL-2.1-or-later
//
// abey-engine: checkpoint and restart of process trees, without daemon, D-Bus or home. One file for each subcommand.
#pragma once

#include "engine/os/result.h"
#include "policy/policy.h"

#include <functional>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

namespace abey::ctl::engine {

// What a subcommand ends with: the program's exit status, and what it tells.
struct Outcome {
    int status = 0;
    nlohmann::json json; // printed with --json
    std::string text;    // printed otherwise
};
using Action = std::function<Result<Outcome>()>;

// Adds the subcommand's options; `action` is set when the user has chosen it.
void add_checkpoint(CLI::App &app, Action &action);
void add_check(CLI::App &app, Action &action);
void add_restore(CLI::App &app, Action &action);
void add_inspect(CLI::App &app, Action &action);
void add_unlock(CLI::App &app, Action &action);

// The built-in policy, or that of a file.
Result<policy::Policy> policy_from(const std::string &file);

} // namespace abey::ctl::engine
