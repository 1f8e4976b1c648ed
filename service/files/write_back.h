// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string_view>

namespace abey::files {

// Before the freeze: writes what a process has changed of its files without a name to their disk, where the file system
// can share data (FICLONE there waits for all of it, and the process would stand still for as long). What cannot be
// looked at is left out: the strategies will find it, too. `maps`: its /proc/PID/maps.
void write_back(int pid, std::string_view maps);

} // namespace abey::files
