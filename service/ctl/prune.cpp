// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<int> prune(const PruneCommand &command) {
    auto client = TRY(Client::connect());
    const auto pruned = TRY(client.prune(command.dry_run));
    if (command.json) {
        auto document = nlohmann::json::array();
        for (const auto &one : pruned)
            document.push_back({{"id", one.id}, {"uid", one.uid}, {"reason", one.reason}});
        print_json(document);
        return 0;
    }
    for (const auto &one : pruned)
        fmt::print("{}{}: {}\n", command.dry_run ? "would remove " : "removing ", one.id, bus::printable(one.reason));
    if (pruned.empty())
        fmt::print("Nothing to remove.\n");
    if (command.dry_run) {
        auto entries = TRY(client.list_checkpoints());
        TRY(client.describe(entries));
        for (const auto &entry : entries)
            if (entry.pinned)
                fmt::print("keeps {}: it is pinned\n", entry.id);
    }
    return 0;
}

} // namespace abey::ctl
