// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/terminal_message.h"

#include "dbus/names.h"
#include "engine/os/fd.h"

#include <algorithm>

namespace abey::daemon {

Result<> write_to_terminal(const std::string &tty, uid_t owner, std::string_view text) {
    const bool plain =
        !tty.empty() && tty.size() < 32 && tty.find("..") == std::string::npos && std::ranges::all_of(tty, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/';
        });
    if (!plain || tty.front() == '/')
        return fail(EINVAL, "not the name of a terminal: \"{}\"", bus::printable(tty));
    const auto path = "/dev/" + tty;
    auto terminal = TRY(open_file(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW));
    const auto status = TRY_IN(stat_of(terminal), "{}", path);
    if (!S_ISCHR(status.st_mode) || status.st_uid != owner || ::isatty(terminal.get()) == 0)
        return fail(EPERM, "{} is not a terminal of user {}", path, owner);
    // Carriage returns as well: an editor may have switched the terminal's output processing off.
    std::string shown = "\r\n";
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        shown += bus::printable(line) + "\r\n";
        text.remove_prefix(std::min(line.size() + 1, text.size()));
    }
    TRY_IN(write_all(terminal, shown), "{}", path);
    return {};
}

} // namespace abey::daemon
