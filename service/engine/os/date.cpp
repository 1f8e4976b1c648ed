// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/date.h"

#include <array>

namespace abey::os {
namespace {

#pragma GCC diagnostic push
// The compiler checks the literals of those who call the two functions below.
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

std::string text_of(const std::tm *parts, const char *format) {
    std::array<char, 64> text{};
    return parts == nullptr ? "" : std::string(text.data(), std::strftime(text.data(), text.size(), format, parts));
}

#pragma GCC diagnostic pop

} // namespace

uint64_t microseconds_of(clockid_t clock) {
    timespec time{};
    (void)::clock_gettime(clock, &time); // those that are asked for are always there
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_nsec) / 1000;
}

std::string local_date(std::time_t moment, const char *format) {
    std::tm parts{};
    return text_of(::localtime_r(&moment, &parts), format);
}

std::string utc_date(std::time_t moment, const char *format) {
    std::tm parts{};
    return text_of(::gmtime_r(&moment, &parts), format);
}

} // namespace abey::os
