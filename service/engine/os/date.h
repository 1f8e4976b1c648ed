// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <ctime>
#include <string>

namespace abey::os {

// What a clock says (clock_gettime(2)); microseconds, of CLOCK_REALTIME since 1970.
uint64_t microseconds_of(clockid_t clock);

// A moment as strftime(3) writes it, at most 63 bytes; empty when it has no date (its year does not fit into an int).
[[gnu::format(strftime, 2, 0)]] std::string local_date(std::time_t moment, const char *format);
[[gnu::format(strftime, 2, 0)]] std::string utc_date(std::time_t moment, const char *format);

} // namespace abey::os
