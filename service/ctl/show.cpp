// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/colour.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "dbus/names.h"
#include "engine/os/date.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

constexpr int label_width = 14;

void print_line(std::string_view label, std::string_view value) {
    fmt::print("{:>{}}: {}\n", label, label_width, value);
}

// Figures among the information: times are microseconds, and their names end in _time.
std::string shown_value(const std::string &name, const nlohmann::json &value) {
    if (name.ends_with("_time") && value.is_number_unsigned())
        return human_duration(value.get<uint64_t>());
    const auto text = value.is_string() ? value.get<std::string>()
                                        : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return bus::printable(text);
}

void print_information(const nlohmann::json &object, const std::string &prefix) {
    for (const auto &[name, value] : object.items())
        if (value.is_object())
            print_information(value, prefix + name + ".");
        else
            print_line(prefix + name, shown_value(name, value));
}

} // namespace

Result<int> show(const ShowCommand &command) {
    auto client = TRY(Client::connect());
    std::vector one = {TRY(client.find_checkpoint(command.checkpoint))};
    TRY(client.describe(one));
    (void)client.measure(one);
    const auto &checkpoint = one.front();
    const auto text = TRY(client.information(checkpoint));
    // What an image says is input like any other
    const auto information = nlohmann::json::parse(text, nullptr, false);
    if (information.is_discarded())
        return fail(0, "checkpoint {}: its information is not JSON", checkpoint.id);
    if (command.json) {
        auto document = to_json(checkpoint);
        document["information"] = information;
        print_json(document);
        return 0;
    }
    const bool colour = has_colour();
    print_line("Checkpoint", checkpoint.id);
    print_line("State", painted(tone_of(checkpoint.state), checkpoint.state, colour));
    print_line("User", fmt::format("{} ({})", checkpoint.user, checkpoint.uid));
    print_line("Session", checkpoint.session);
    print_line("Created", human_age(checkpoint.created, os::microseconds_of(CLOCK_REALTIME)));
    print_line("Pinned", checkpoint.pinned ? "yes" : "no");
    print_line("Size", human_size(checkpoint.size));
    if (checkpoint.exclusive)
        print_line("Exclusive", human_size(*checkpoint.exclusive) + " in the home's snapshot");
    if (!checkpoint.problem.empty())
        print_line("Problem", painted(Tone::warning, checkpoint.problem, colour));
    if (information.is_object())
        print_information(information, "");
    return 0;
}

} // namespace abey::ctl
