// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<int> pin(const PinCommand &command) {
    auto client = TRY(Client::connect());
    TRY(client.pin_checkpoint(command.checkpoint, !command.off));
    if (command.json)
        print_json({{"ok", true}, {"checkpoint", command.checkpoint}, {"pinned", !command.off}});
    else
        fmt::print("Checkpoint {} is {}.\n", bus::printable(command.checkpoint),
                   command.off ? "pinned no more" : "pinned: it stays until it is resumed");
    return 0;
}

} // namespace abey::ctl
