// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/engine/command.h"
#include "suspend/suspend.h"

#include <cerrno>
#include <filesystem>
#include <memory>

#include <unistd.h>

namespace abey::ctl::engine {

namespace {

using nlohmann::json;

struct CheckpointOptions {
    int pid = 0;
    std::string cgroup;
    std::string images;
    std::string policy;
    bool keep_running = false;
};

void add_target(CLI::App &command, CheckpointOptions &options) {
    auto *target = command.add_option_group("target", "What to checkpoint");
    target->add_option("--pid", options.pid, "Root of the process tree");
    target->add_option("--cgroup", options.cgroup, "Directory of a cgroup v2: all of its processes");
    target->require_option(1);
    command.add_option("--policy", options.policy, "Policy file (TOML)");
}

Result<> needs_root() {
    if (::geteuid() != 0)
        return fail(EPERM, "processes can only be checkpointed and restored by root");
    return {};
}

json to_json(const capture::Finding &finding) {
    return {{"pid", finding.pid},       {"comm", finding.comm},     {"object", finding.object},
            {"reason", finding.reason}, {"advice", finding.advice}, {"fatal", finding.fatal}};
}

std::string to_text(const capture::Finding &finding) {
    return fmt::format("{}: process {} ({}), {}: {}{}{}\n", finding.fatal ? "refused" : "note", finding.pid,
                       finding.comm, finding.object, finding.reason, finding.advice.empty() ? "" : "; ",
                       finding.advice);
}

Outcome told(const std::vector<capture::Finding> &findings) {
    Outcome outcome;
    outcome.json["findings"] = json::array();
    for (const capture::Finding &finding : findings) {
        outcome.json["findings"].push_back(to_json(finding));
        outcome.text += to_text(finding);
    }
    return outcome;
}

Result<Outcome> checkpoint(const CheckpointOptions &options) {
    TRY(needs_root());
    const auto policy = TRY(policy_from(options.policy));
    suspend::Request request;
    request.pid = options.pid;
    request.cgroup = options.cgroup;
    request.images = std::filesystem::absolute(options.images).string();
    request.id = fmt::format("engine-{}", std::filesystem::path(request.images).filename().string());
    request.policy = &policy;
    request.keep_running = options.keep_running;
    const suspend::Report report = TRY(suspend::run(request));
    Outcome outcome = told(report.findings);
    const suspend::Figures &figures = report.figures;
    outcome.json["ok"] = true;
    outcome.json["figures"] = suspend::named(figures);
    outcome.text += fmt::format("checkpoint of {} processes in {:.3f} s (frozen {:.1f} ms), {} pages\n", figures.tasks,
                                static_cast<double>(figures.total_time) / 1e6,
                                static_cast<double>(figures.frozen_time) / 1e3, figures.pages_written);
    return outcome;
}

Result<Outcome> check(const CheckpointOptions &options) {
    TRY(needs_root());
    const auto policy = TRY(policy_from(options.policy));
    suspend::Request request;
    request.pid = options.pid;
    request.cgroup = options.cgroup;
    request.policy = &policy;
    const auto findings = TRY(suspend::check(request));
    Outcome outcome = told(findings);
    const bool possible =
        std::none_of(findings.begin(), findings.end(), [](const auto &finding) { return finding.fatal; });
    outcome.status = possible ? 0 : 1;
    outcome.json["ok"] = possible;
    if (possible)
        outcome.text += "can be checkpointed\n";
    return outcome;
}

} // namespace

void add_checkpoint(CLI::App &app, Action &action) {
    auto options = std::make_shared<CheckpointOptions>();
    auto *command = app.add_subcommand("checkpoint", "Write processes to an image directory, and end them");
    add_target(*command, *options);
    command->add_option("--images", options->images, "Image directory: made when missing, must be empty")->required();
    command->add_flag("--keep-running", options->keep_running, "Let them go on afterwards");
    command->callback([&action, options] { action = [options] { return checkpoint(*options); }; });
}

void add_check(CLI::App &app, Action &action) {
    auto options = std::make_shared<CheckpointOptions>();
    auto *command = app.add_subcommand("check", "Tell what could not be restored; touches nothing");
    add_target(*command, *options);
    command->callback([&action, options] { action = [options] { return check(*options); }; });
}

} // namespace abey::ctl::engine
