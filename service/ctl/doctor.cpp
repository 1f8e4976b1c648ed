// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/colour.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/probes.h"
#include "dbus/names.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

const char *word_of(Verdict verdict) {
    switch (verdict) {
    case Verdict::good:
        return "good";
    case Verdict::lacking:
        return "lacking";
    case Verdict::broken:
        break;
    }
    return "broken";
}

Tone tone_of(Verdict verdict) {
    switch (verdict) {
    case Verdict::good:
        return Tone::good;
    case Verdict::lacking:
        return Tone::warning;
    case Verdict::broken:
        break;
    }
    return Tone::bad;
}

} // namespace

Result<int> doctor(const DoctorCommand &command) {
    auto probes = kernel_probes();
    std::ranges::move(system_probes(), std::back_inserter(probes));
    const auto broken = std::ranges::count(probes, Verdict::broken, &Probe::verdict);
    if (command.json) {
        auto list = nlohmann::json::array();
        for (const auto &probe : probes)
            list.push_back({{"name", probe.name},
                            {"verdict", word_of(probe.verdict)},
                            {"found", probe.found},
                            {"cost", probe.cost}});
        print_json({{"ok", broken == 0}, {"probes", list}});
        return broken == 0 ? 0 : 1;
    }
    const bool colour = has_colour();
    for (const auto &probe : probes) {
        const auto word = fmt::format("{:8}", word_of(probe.verdict));
        fmt::print("{} {}: {}\n", painted(tone_of(probe.verdict), word, colour), probe.name,
                   bus::printable(probe.found));
        if (!probe.cost.empty())
            fmt::print("{:8} {}\n", "", bus::printable(probe.cost));
    }
    if (broken != 0)
        return fail(0, "{} of {} things that Abeyance needs are not as they should be", broken, probes.size());
    return 0;
}

} // namespace abey::ctl
