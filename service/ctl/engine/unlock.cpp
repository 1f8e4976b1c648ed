// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/engine/command.h"
#include "store/records.h"

#include <filesystem>
#include <memory>

namespace abey::ctl::engine {

void add_unlock(CLI::App &app, Action &action) {
    auto images = std::make_shared<std::string>();
    auto *command =
        app.add_subcommand("unlock", "Give up connections to peers outside that an image was to go on with");
    command->add_option("--images", *images, "Image directory")->required();
    command->callback([&action, images] {
        action = [images]() -> Result<Outcome> {
            TRY(store::unlock(std::filesystem::absolute(*images).string()));
            Outcome outcome;
            outcome.json = {{"ok", true}};
            return outcome;
        };
    });
}

} // namespace abey::ctl::engine
