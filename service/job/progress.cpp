// SPDX-License-Identifier: LGPL-2.1-or-later
#include "job/job.h"

#include <algorithm>
#include <charconv>

#include <systemd/sd-daemon.h>

namespace abey::job {

void report_progress(std::string_view phase, int percent) {
    // Not started by systemd (by hand, in a test): there is nobody to tell, and that is no error.
    (void)::sd_notify(0, fmt::format("STATUS={} ({}%)", phase, std::clamp(percent, 0, 100)).c_str());
}

void ask_for_time(uint64_t microseconds) {
    (void)::sd_notify(0, fmt::format("EXTEND_TIMEOUT_USEC={}", microseconds).c_str());
}

Result<Progress> progress_from(std::string_view status) {
    const auto foreign = [&] { return fail(EINVAL, "not a progress report: \"{}\"", status); };
    constexpr size_t phase_limit = 32;
    const auto space = status.find(' ');
    if (space == 0 || space > phase_limit || !status.substr(space).starts_with(" (") || !status.ends_with("%)"))
        return foreign();
    Progress progress{.phase = std::string(status.substr(0, space))};
    if (!std::ranges::all_of(progress.phase, [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; }))
        return foreign();
    const auto digits = status.substr(space + 2, status.size() - space - 4);
    const auto [stop, error] = std::from_chars(digits.begin(), digits.end(), progress.percent);
    if (error != std::errc{} || stop != digits.end() || progress.percent > 100)
        return foreign();
    return progress;
}

} // namespace abey::job
