// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/options.h"

#include "dbus/names.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace abey::daemon {
namespace {

struct Words {
    std::span<const std::string_view> all;
    const char *listed = ""; // for messages
};
constexpr std::array<std::string_view, 3> pids{"same", "namespace", "auto"};
constexpr std::array<std::string_view, 4> divergences{"rollback", "private", "keep", "fail"};
constexpr std::array<std::string_view, 1> triggers{"timer"};
constexpr Words pids_words{pids, "same, namespace, auto"};
constexpr Words divergence_words{divergences, "rollback, private, keep, fail"};

// Others are the daemon's own.
constexpr Words trigger_words{triggers, "timer"};

Answer<> take(const std::string &name, const Options::mapped_type &value, bool &result) {
    if (const auto *flag = std::get_if<bool>(&value)) {
        result = *flag;
        return {};
    }
    return refuse(bus::error::invalid_argument, "option \"{}\" takes a boolean", name);
}

Answer<> take(const std::string &name, const Options::mapped_type &value, const Words &words, std::string &result) {
    const auto *text = std::get_if<std::string>(&value);
    if (text == nullptr || std::ranges::find(words.all, *text) == words.all.end())
        return refuse(bus::error::invalid_argument, "option \"{}\" takes one of: {}", name, words.listed);
    result = *text;
    return {};
}

std::unexpected<Refusal> unknown(const std::string &name) {
    return refuse(bus::error::invalid_argument, "there is no option \"{}\"", bus::shortened(name));
}

} // namespace

Answer<SuspendOptions> suspend_options(const Options &options) {
    SuspendOptions result;
    for (const auto &[name, value] : options) {
        if (name == "keep-running")
            TRY(take(name, value, result.keep_running));
        else if (name == "after-disconnect")
            TRY(take(name, value, result.after_disconnect));
        else if (name == "trigger")
            TRY(take(name, value, trigger_words, result.trigger));
        else
            return unknown(name);
    }
    return result;
}

Answer<ResumeOptions> resume_options(const Options &options) {
    ResumeOptions result;
    for (const auto &[name, value] : options) {
        if (name == "pids")
            TRY(take(name, value, pids_words, result.pids));
        else if (name == "on-divergence")
            TRY(take(name, value, divergence_words, result.on_divergence));
        else
            return unknown(name);
    }
    return result;
}

Answer<PruneOptions> prune_options(const Options &options) {
    PruneOptions result;
    for (const auto &[name, value] : options) {
        if (name == "dry-run")
            TRY(take(name, value, result.dry_run));
        else
            return unknown(name);
    }
    return result;
}

} // namespace abey::daemon
