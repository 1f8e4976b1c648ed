// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/colour.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/text.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

Result<int> list_displaced(Client &client, bool json) {
    std::vector<CheckpointEntry> none;
    (void)client.measure(none); // finds out which are there still
    const auto entries = TRY(client.list_displaced());
    if (json) {
        auto document = nlohmann::json::array();
        for (const auto &entry : entries)
            document.push_back({{"uid", entry.uid},
                                {"home", entry.home},
                                {"place", entry.place},
                                {"checkpoint", entry.checkpoint},
                                {"created", entry.created},
                                {"needed", entry.needed}});
        print_json(document);
        return 0;
    }
    if (entries.empty()) {
        fmt::print("No displaced homes.\n");
        return 0;
    }
    Table table({"UID", "HOME", "DISPLACED", "BY", "PLACE"});
    table.align_right(0);
    for (const auto &entry : entries)
        table.add({std::to_string(entry.uid), entry.home, human_time(entry.created), entry.checkpoint, entry.place});
    fmt::print("{}\n{} home{} listed.\n", table.text(), entries.size(), entries.size() == 1 ? "" : "s");
    return 0;
}

} // namespace

Result<int> list(const ListCommand &command) {
    auto client = TRY(Client::connect());
    if (command.displaced)
        return list_displaced(client, command.json);
    auto entries = TRY(client.list_checkpoints());
    // Not worth a failure: the list is there
    if (!entries.empty())
        (void)client.measure(entries);
    if (command.json) {
        auto document = nlohmann::json::array();
        for (const auto &entry : entries)
            document.push_back(to_json(entry));
        print_json(document);
        return 0;
    }
    if (entries.empty()) {
        fmt::print("No checkpoints.\n");
        return 0;
    }
    const bool colour = has_colour();
    Table table({"CHECKPOINT", "UID", "USER", "SESSION", "CREATED", "SIZE", "EXCLUSIVE", "STATE"});
    table.align_right(1);
    table.align_right(5);
    table.align_right(6);
    for (const auto &entry : entries)
        table.add({entry.id, std::to_string(entry.uid), entry.user, entry.session, human_time(entry.created),
                   human_size(entry.size), entry.exclusive ? human_size(*entry.exclusive) : "-",
                   painted(tone_of(entry.state), entry.state, colour)});
    fmt::print("{}\n{} checkpoint{} listed.\n", table.text(), entries.size(), entries.size() == 1 ? "" : "s");
    for (const auto &entry : entries)
        if (!entry.problem.empty())
            fmt::print("\n{}: {}\n", entry.id, painted(Tone::warning, entry.problem, colour));
    return 0;
}

} // namespace abey::ctl
