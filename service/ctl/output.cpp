// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/output.h"

#include "ctl/text.h"

#include <array>
#include <utility>

#include <nlohmann/json.hpp>

namespace abey::ctl {

nlohmann::json to_json(const CheckpointEntry &entry) {
    nlohmann::json document = {
        {"id", entry.id},           {"uid", entry.uid},         {"user", entry.user},
        {"session", entry.session}, {"created", entry.created}, {"size", entry.size},
        {"exclusive", nullptr},     {"state", entry.state},     {"problem", entry.problem},
        {"pinned", entry.pinned},   {"trigger", entry.trigger}, {"kept_running", entry.kept_running}};
    if (entry.exclusive)
        document["exclusive"] = *entry.exclusive;
    return document;
}

nlohmann::json to_json(const capture::Finding &finding) {
    return {{"pid", finding.pid},       {"comm", finding.comm},     {"object", finding.object},
            {"reason", finding.reason}, {"advice", finding.advice}, {"fatal", finding.fatal}};
}

nlohmann::json to_json(const JobEnd &end) {
    nlohmann::json document{{"ok", true},
                            {"result", end.result},
                            {"message", end.message},
                            {"checkpoint", end.checkpoint},
                            {"figures", end.figures}};
    if (!end.session.empty())
        document["session"] = end.session;
    return document;
}

void print_json(const nlohmann::json &document) {
    fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_failure(const std::string &message) { print_json({{"ok", false}, {"error", message}}); }

std::string figures_line(const std::map<std::string, uint64_t> &figures) {
    constexpr std::array<std::pair<const char *, const char *>, 6> times{{{"frozen_time", "frozen"},
                                                                          {"snapshot_time", "home"},
                                                                          {"memdump_time", "memory read"},
                                                                          {"memwrite_time", "memory written"},
                                                                          {"restore_time", "restored"},
                                                                          {"total_time", "in all"}}};
    std::string line;
    const auto add = [&](const std::string &part) { line += (line.empty() ? "" : ", ") + part; };
    if (const auto tasks = figures.find("tasks"); tasks != figures.end())
        add(fmt::format("{} processes", tasks->second));
    for (const auto &[name, words] : times)
        if (const auto found = figures.find(name); found != figures.end())
            add(fmt::format("{} {}", words, human_duration(found->second)));
    return line;
}

} // namespace abey::ctl
