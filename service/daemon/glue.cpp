// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/glue.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace abey::daemon {
namespace {
constexpr size_t option_limit = 16;
constexpr size_t option_size_limit = 256;

Answer<Options::mapped_type> read_value(sd_bus_message *message, const std::string &name) {
    char type = 0;
    const char *contents = nullptr;
    if (::sd_bus_message_peek_type(message, &type, &contents) >= 0 && type == 'v') {
        int flag = 0;
        const char *text = nullptr;
        if (std::string_view(contents) == "b" && ::sd_bus_message_read(message, "v", "b", &flag) >= 0)
            return flag != 0;
        if (std::string_view(contents) == "s" && ::sd_bus_message_read(message, "v", "s", &text) >= 0 &&
            std::string_view(text).size() <= option_size_limit)
            return std::string(text);
    }
    return refuse(bus::error::invalid_argument, "option \"{}\": only booleans and short strings are options", name);
}
} // namespace

int hand_over(const std::vector<std::string> &paths, char ***list) {
    // sd-bus frees each and all with free(3)
    auto **copies = static_cast<char **>(std::calloc(paths.size() + 1, sizeof(char *)));
    if (copies == nullptr)
        return -ENOMEM;
    for (size_t i = 0; i < paths.size(); i++)
        if (copies[i] = ::strdup(paths[i].c_str()); copies[i] == nullptr) {
            while (i-- > 0)
                std::free(copies[i]);
            std::free(static_cast<void *>(copies));
            return -ENOMEM;
        }
    *list = copies;
    return 0;
}

Answer<Options> read_options(sd_bus_message *message) {
    const auto malformed = [] { return refuse(bus::error::invalid_argument, "malformed options"); };
    Options options;
    if (::sd_bus_message_enter_container(message, 'a', "{sv}") < 0)
        return malformed();
    int more = 0;
    while ((more = ::sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        const char *raw_name = nullptr;
        if (::sd_bus_message_read(message, "s", &raw_name) < 0)
            return malformed();
        const auto name = bus::printable(std::string_view(raw_name).substr(0, option_size_limit));
        auto value = TRY(read_value(message, name));
        if (options.size() == option_limit || !options.emplace(name, std::move(value)).second)
            return refuse(bus::error::invalid_argument, "too many options, or \"{}\" twice", name);
        if (::sd_bus_message_exit_container(message) < 0)
            return malformed();
    }
    if (more < 0 || ::sd_bus_message_exit_container(message) < 0)
        return malformed();
    return options;
}

} // namespace abey::daemon
