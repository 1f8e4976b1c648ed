// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/several.h"
#include "ctl/text.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

std::string holder_of(const nlohmann::json &file) {
    const auto where = file.contains("mapping")           ? "mapping " + file.value("mapping", "")
                       : file.value("descriptor", -1) < 0 ? std::string("its own")
                                                          : fmt::format("descriptor {}", file.value("descriptor", -1));
    return fmt::format("process {} ({}), {}", file.value("pid", 0), file.value("comm", ""), where);
}

void print_file(const nlohmann::json &file) {
    fmt::print("{}\n", file.value("path", ""));
    fmt::print("    held by   {}\n", holder_of(file));
    fmt::print("    state     {}, {} ({} on disk)\n", file.value("state", ""),
               human_size(file.value("size", uint64_t(0))), human_size(file.value("on_disk", uint64_t(0))));
    const auto refused = file.value("refused", "");
    if (refused.empty()) {
        const auto cost = file.value("cost", uint64_t(0));
        fmt::print("    strategy  {}{}\n", file.value("strategy", ""),
                   cost == 0 ? "" : fmt::format(", writes {}", human_size(cost)));
    } else {
        fmt::print("    refused   {}\n", refused);
    }
    if (const auto rule = file.value("rule", ""); !rule.empty())
        fmt::print("    rule      {}\n", rule);
    for (const auto &tried : file.value("tried", nlohmann::json::array()))
        fmt::print("    not       {}: {}\n", tried.value("strategy", ""), tried.value("reason", ""));
}

// What nobody holds there.
void print_runtime_directory(const nlohmann::json &directory) {
    if (!directory.is_object())
        return;
    const auto files = directory.value("files", uint64_t(0));
    if (files != 0)
        fmt::print("{}: of what nobody holds there {} files are kept, {} ({}).\n", directory.value("path", ""), files,
                   human_size(directory.value("bytes", uint64_t(0))), directory.value("rule", ""));
    if (const auto left = directory.value("left_out", ""); !left.empty())
        fmt::print("{}.\n", left);
}

Result<One> explain_one(Client &client, const std::string &session, bool json) {
    auto document = nlohmann::json::parse(TRY(client.explain_session(session)), nullptr, false);
    if (!document.is_object() || !document.contains("files") || !document["files"].is_array())
        return fail(0, "session {}: the answer is not understood", bus::printable(session));
    for (const auto &file : document["files"])
        if (!file.is_object())
            return fail(0, "session {}: the answer is not understood", bus::printable(session));
    // Of all, also of those that the answer has no room for
    const auto count = document.value("count", uint64_t(0));
    const auto by_name = document.value("by_name", uint64_t(0));
    const auto refused = document.value("refused", uint64_t(0));
    const auto cost = document.value("cost", uint64_t(0));
    if (json)
        return One{.status = refused == 0 ? 0 : 1, .document = std::move(document)};
    for (const auto &file : document["files"])
        if (file.value("strategy", "") != "by name" || !file.value("refused", "").empty())
            print_file(file);
    if (document.value("truncated", false))
        fmt::print("... and {} more: {} of {} files had room in the answer, those that need something first.\n",
                   count - document["files"].size(), document["files"].size(), count);
    fmt::print("{} files are found again by their names; {} are kept, which writes {}.\n", by_name,
               count - by_name - refused, human_size(cost));
    print_runtime_directory(document.value("runtime_directory", nlohmann::json()));
    if (refused != 0)
        return fail(0, "session {} cannot be suspended: {} files are refused", bus::printable(session), refused);
    return One();
}

} // namespace

Result<int> explain(const ExplainCommand &command) {
    auto client = TRY(Client::connect());
    const auto all = TRY(meant_by(client, command.session, command.unit));
    return each_of(
        all, command.json, [&](const std::string &one) { return explain_one(client, one, command.json); },
        name_session);
}

} // namespace abey::ctl
