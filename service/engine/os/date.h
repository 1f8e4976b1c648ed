// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <ctime>
#include <string>

namespace abey::os {

// A moment as strftime(3) writes it, at most 63 bytes; empty when it has no date (its year does not fit into an int).
[[gnu::format(strftime, 2, 0)]] std::string local_date(std::time_t moment, const char *format);
[[gnu::format(strftime, 2, 0)]] std::string utc_date(std::time_t moment, const char *format);

} // namespace abey::os
