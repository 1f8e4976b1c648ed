// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/inspect.h"
#include "ctl/engine/command.h"
#include "engine/image/image.h"

#include <filesystem>
#include <memory>

namespace abey::ctl::engine {

void add_inspect(CLI::App &app, Action &action) {
    auto images = std::make_shared<std::string>();
    auto *command = app.add_subcommand("inspect", "Show what is in an image");
    command->add_option("DIR", *images, "Image directory")->required();
    command->callback([&action, images] {
        action = [images]() -> Result<Outcome> {
            const auto image = TRY(image::Reader::open(std::filesystem::absolute(*images).string()));
            TRY(image.verify());
            const model::Tree tree = TRY(image.tree());
            Outcome outcome;
            outcome.json = image::to_json(tree);
            outcome.json["about"] = image.about();
            outcome.text = image::describe(tree);
            return outcome;
        };
    });
}

} // namespace abey::ctl::engine
