// SPDX-License-Identifier: LGPL-2.1-or-later
#include "worker/questions.h"

#include "dbus/names.h"
#include "policy/policy.h"
#include "snapshot/provider.h"
#include "store/store.h"
#include "worker/listing.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>

#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace abey::worker {
namespace {

constexpr size_t file_limit = 4000;
constexpr size_t change_limit = 5000;
constexpr size_t line_limit = 4096;

std::string_view type_of(uint32_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "link";
    default:
        return "other";
    }
}

std::string_view name_of(snapshot::Change::Kind kind) {
    constexpr std::array<std::string_view, 3> names = {"added", "removed", "changed"};
    return names.at(static_cast<size_t>(kind));
}

nlohmann::json to_json(const files::Explanation &one) {
    auto tried = nlohmann::json::array();
    for (const auto &[strategy, reason] : one.tried)
        tried.push_back({{"strategy", strategy}, {"reason", bus::printable(reason)}});
    nlohmann::json json = {{"pid", one.use.pid},
                           {"comm", bus::printable(one.use.comm)},
                           {"path", bus::printable(one.path)},
                           {"state", one.state},
                           {"size", one.size},
                           {"on_disk", one.on_disk},
                           {"strategy", one.rule.empty() ? "by name" : policy::strategy_name(one.strategy)},
                           {"rule", one.rule},
                           {"cost", one.cost},
                           {"tried", std::move(tried)},
                           {"refused", bus::printable(one.refused)}};
    if (one.use.mapped)
        json["mapping"] = fmt::format("{:x}-{:x}", one.use.mapping_start, one.use.mapping_end);
    else
        json["descriptor"] = one.use.descriptor;
    return json;
}

store::Measured measure(const snapshot::Saved &saved, const store::Measured &before, snapshot::MeasureUntil until) {
    store::Measured measured;
    const auto provider = snapshot::make_provider(saved.provider, saved.home);
    if (!provider)
        return {.exclusive = before.exclusive, .problem = provider.error().message()};
    // A check of copies would read them
    if (saved.provider == "btrfs") {
        if (const auto checked = (*provider)->check(saved); !checked)
            measured.problem = checked.error().message();
    } else if (const auto place = (*provider)->view(saved);
               saved.provider != "none" && ::access(place.c_str(), F_OK) != 0) {
        measured.problem = fail(errno, "the saved home {}", place).error().message();
    }
    if (!measured.problem.empty())
        return measured;
    // When the time does not suffice, or something fails under way, what was found out earlier is the best that is
    // known
    measured.exclusive = before.exclusive;
    if (const auto size = (*provider)->exclusive(saved, until); size && *size)
        measured.exclusive = *size;
    return measured;
}

} // namespace

Result<job::Outcome> explain(const job::Job &job, const suspend::Request &request) {
    auto [explained, unheld] = TRY(suspend::explain(request));
    // Where not all have room: what needs a decision first
    const auto by_name = [](const files::Explanation &one) { return one.refused.empty() && one.rule.empty(); };
    std::ranges::stable_sort(explained, {}, [&](const auto &one) {
        return !one.refused.empty() ? 0 : by_name(one) ? 2 : 1;
    });
    Listing list(file_limit);
    uint64_t cost = 0;
    for (const auto &one : explained) {
        cost += one.cost;
        list.add([&one] { return to_json(one); });
    }
    const auto refused = std::ranges::count_if(explained, [](const auto &one) { return !one.refused.empty(); });
    const nlohmann::json directory = {{"path", bus::printable(request.runtime_directory)},
                                      {"files", unheld.files},
                                      {"bytes", unheld.bytes},
                                      {"rule", "[runtime-directory]"},
                                      {"left_out", bus::printable(unheld.left_out.substr(0, line_limit))}};
    const nlohmann::json answer = {{"session", job.session},
                                   {"files", list.take()},
                                   {"truncated", list.more() > 0},
                                   {"more", list.more()},
                                   {"count", explained.size()},
                                   {"by_name", std::ranges::count_if(explained, by_name)},
                                   {"refused", refused},
                                   {"cost", cost},
                                   {"runtime_directory", directory}};
    return job::Outcome{.ok = true, .answer = to_text(answer)};
}

Result<job::Outcome> diff(const job::Job &job) {
    const store::Store store;
    const auto checkpoint = TRY(store.find(job.checkpoint));
    if (!checkpoint.home)
        return fail(0, "checkpoint {}: no home was saved with it", job.checkpoint);
    const auto provider = TRY(snapshot::make_provider(checkpoint.home->provider, checkpoint.home->home));
    const auto changes = TRY_IN(provider->changes(*checkpoint.home, change_limit + 1), "checkpoint {}", job.checkpoint);
    Listing list(change_limit);
    for (const auto &one : changes)
        list.add([&one]() -> nlohmann::json {
            return {{"change", name_of(one.kind)}, {"path", one.path.empty() ? "." : bus::printable(one.path)},
                    {"type", type_of(one.mode)},   {"size_before", one.size_before},
                    {"size_now", one.size_now},    {"mtime", one.mtime.seconds}};
        });
    const nlohmann::json answer = {{"checkpoint", job.checkpoint},
                                   {"home", checkpoint.home->home},
                                   {"provider", checkpoint.home->provider},
                                   {"changes", list.take()},
                                   {"truncated", list.more() > 0},
                                   {"more", list.more()},
                                   {"more_uncounted", changes.size() > change_limit}};
    return job::Outcome{.ok = true, .answer = to_text(answer)};
}

Result<job::Outcome> measure(const job::Job &job) {
    constexpr auto allowed = std::chrono::seconds(3); // somebody waits for the list
    const auto until = std::chrono::steady_clock::now() + allowed;
    const store::Store store;
    (void)store.sweep_displaced_homes(); // the daemon cannot look into homes
    Listing list(SIZE_MAX);
    for (const auto &one : TRY(store.list()).checkpoints) {
        if ((job.uid != 0 && one.about.uid != job.uid) || one.state != store::State::waiting || !one.home)
            continue;
        const auto measured = measure(*one.home, one.measured, until);
        nlohmann::json entry = {{"id", one.about.id}, {"problem", bus::printable(measured.problem)}};
        if (measured.exclusive)
            entry["exclusive"] = *measured.exclusive;
        list.add([&entry] { return std::move(entry); });
        (void)store.record_measured(one.about.id, measured); // it may be gone by now
    }
    const nlohmann::json answer = {{"checkpoints", list.take()}};
    return job::Outcome{.ok = true, .answer = to_text(answer)};
}

} // namespace abey::worker
