// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is on its way in a pseudo-terminal: typed (written by the master) and not read yet, printed and not read yet.
// The kernel shows it to nobody who does not take it out. So a process of its own takes it and puts it back at once
// (TIOCSTI, ioctl_tty(2)), which nothing but SIGKILL can stop; a kill in these microseconds loses it. Needs
// CAP_SYS_ADMIN. Nobody may read from the terminal meanwhile.
#pragma once

#include "engine/os/fd.h"

#include <string>
#include <vector>

struct termios2; // asm/termbits.h, which does not go with termios.h

namespace abey::os {

struct UnreadInput {
    // Canonical mode: what each read(2) will give, with its '\n'; without one when the line was ended by VEOF.
    std::vector<std::string> lines;
    std::string rest; // after these: not ended by Enter yet; in non-canonical mode all of it
    bool operator==(const UnreadInput &) const = default;
};

// `slave` is an open file of the caller's own, O_NONBLOCK. E2BIG: more than the kernel takes back.
Result<UnreadInput> look_at_input(const Fd &slave);
// For a terminal that has no unread input and, from the next change of its settings on, these settings.
Result<> put_input(const Fd &slave, const struct termios2 &settings, const UnreadInput &input);

// All of what the slave has written.
Result<std::string> look_at_output(const Fd &master);
Result<> put_output(int master, std::string_view output);

} // namespace abey::os
