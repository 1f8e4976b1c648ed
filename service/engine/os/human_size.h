// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>

namespace abey::os {

// "0 B", "1.5 KiB", "64.0 MiB": for people.
std::string human_size(uint64_t bytes);

} // namespace abey::os
