// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/journal_stream.h"

#include "engine/os/fd.h"

#include <memory>

#include <dirent.h>

namespace abey::capture {
namespace {

constexpr const char *states = "/run/systemd/journal/streams";
constexpr size_t longest = 256; // of a label; the journal allows more

std::string_view value_of(std::string_view state, std::string_view key) {
    for (size_t at = 0; at < state.size();) {
        const size_t end = std::min(state.find('\n', at), state.size());
        std::string_view line = state.substr(at, end - at);
        at = end + 1;
        if (line.starts_with(key) && line.substr(key.size()).starts_with('='))
            return line.substr(key.size() + 1);
    }
    return {};
}

bool is_yes(std::string_view value) { return value == "1" || value == "yes"; }

} // namespace

std::string journal_greeting_from(std::string_view state, std::string_view comm) {
    std::string_view label = value_of(state, "IDENTIFIER");
    // A backslash begins an escape: then the program's name does as well.
    if (label.empty() || label.size() > longest || label.find('\\') != std::string_view::npos)
        label = comm;
    const std::string_view priority = value_of(state, "PRIORITY");
    const bool known = priority.size() == 1 && priority.front() >= '0' && priority.front() <= '7';
    // The second line names a unit, which only root may choose, and the journal finds by itself.
    return fmt::format("{}\n\n{}\n{:d}\n{:d}\n{:d}\n{:d}\n", label, known ? priority : "6",
                       is_yes(value_of(state, "LEVEL_PREFIX")), is_yes(value_of(state, "FORWARD_TO_SYSLOG")),
                       is_yes(value_of(state, "FORWARD_TO_KMSG")), is_yes(value_of(state, "FORWARD_TO_CONSOLE")));
}

std::string journal_greeting(uint64_t peer, std::string_view comm) {
    const std::string ending = fmt::format(":{}", peer);
    const std::unique_ptr<DIR, int (*)(DIR *)> directory(::opendir(states), ::closedir);
    while (const dirent *entry = directory ? ::readdir(directory.get()) : nullptr) {
        const std::string_view name = entry->d_name;
        if (name.ends_with(ending))
            return journal_greeting_from(read_file(fmt::format("{}/{}", states, name)).value_or(""), comm);
    }
    return journal_greeting_from("", comm);
}

} // namespace abey::capture
