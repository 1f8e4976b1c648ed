// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/human_size.h"

#include <array>

#include <fmt/format.h>

namespace abey::os {

std::string human_size(uint64_t bytes) {
    constexpr std::array units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    constexpr double step = 1024;
    if (bytes < 1024)
        return fmt::format("{} B", bytes);
    auto value = static_cast<double>(bytes) / step;
    size_t unit = 0;
    // 1023.95 would be shown as 1024.0
    for (; value >= step - 0.05 && unit + 1 < units.size(); unit++)
        value /= step;
    return fmt::format("{:.1f} {}", value, units[unit]);
}

} // namespace abey::os
