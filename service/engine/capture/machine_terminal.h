// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Terminals that belong to the machine: virtual consoles and serial lines, on which people log in without a desktop or
// ssh. They cannot be kept for a session that is away, so a pseudo-terminal takes the place of the one that it ran on.
#pragma once

#include "engine/capture/kind.h"

#include <sys/types.h>

namespace abey::capture {

// A device of the teletype majors of Linux's devices.txt (Documentation/admin-guide) that is no pseudo-terminal;
// /dev/tty, /dev/ptmx and /dev/console, which stand for others, too.
bool is_teletype(dev_t device);

// "/dev/tty1", as the kernel calls it (sysfs(5), /sys/dev/char); the numbers when it does not tell.
std::string path_of_terminal(dev_t device);

// "the virtual console tty1"
std::string described_terminal(dev_t device);

// An error unless another terminal may take its place: the policy may forbid it, and of a console on which a program
// draws by itself there is no text (ioctl_console(2)).
Result<> check_replaceable(const Context &context, const Fd &end, dev_t device);

} // namespace abey::capture
