// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/own_terminal.h"

#include "engine/os/procfs.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace abey::session {

std::optional<uint32_t> pts_number(dev_t device) {
    // Unix98 slaves: majors 136 to 143, 256 minors each (the kernel's devices.txt).
    constexpr uint32_t first_slave_major = 136;
    constexpr uint32_t slave_majors = 8;
    if (major(device) < first_slave_major || major(device) >= first_slave_major + slave_majors)
        return std::nullopt;
    return (major(device) - first_slave_major) * 256 + minor(device);
}

std::optional<uint32_t> controlling_terminal(pid_t pid) {
    const auto stat = os::read_stat(pid);
    if (!stat)
        return std::nullopt;
    // In the encoding of stat(2) for numbers of this size
    return pts_number(static_cast<dev_t>(static_cast<uint32_t>(stat->terminal)));
}

std::optional<uint32_t> terminal_behind(int descriptor) {
    struct stat status {};
    if (::fstat(descriptor, &status) < 0 || !S_ISCHR(status.st_mode))
        return std::nullopt;
    return pts_number(status.st_rdev);
}

} // namespace abey::session
