// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<int> remove(const RemoveCommand &command) {
    auto client = TRY(Client::connect());
    TRY(client.remove_checkpoint(command.checkpoint));
    if (command.json)
        print_json({{"ok", true}, {"checkpoint", command.checkpoint}});
    else
        fmt::print("Checkpoint {} is removed.\n", bus::printable(command.checkpoint));
    return 0;
}

} // namespace abey::ctl
