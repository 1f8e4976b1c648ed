// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Whoever sits on a terminal of a session must not be shown that session: a terminal that is attached to itself would
// show its own output to itself for ever.
#pragma once

#include <cstdint>
#include <optional>

#include <sys/types.h>

namespace abey::session {

// N of /dev/pts/N when the device is a pseudo-terminal's slave; nothing: it is none. Pure.
std::optional<uint32_t> pts_number(dev_t device);

// The same of the controlling terminal of a process (tty_nr of proc_pid_stat(5)); nothing also when it has ended.
std::optional<uint32_t> controlling_terminal(pid_t pid);

// The same of the device behind a descriptor.
std::optional<uint32_t> terminal_behind(int descriptor);

} // namespace abey::session
