// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/words.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <vector>

#include <fmt/format.h>

namespace abey::policy {

namespace {

constexpr size_t word_limit = 64;

// Levenshtein's distance.
size_t distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (size_t i = 0; i < a.size(); i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.size(); j++) {
            size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

struct Unit {
    std::string_view name;
    uint64_t bytes;
};

constexpr std::array units = {
    Unit{"", 1},
    Unit{"B", 1},
    Unit{"kB", 1000},
    Unit{"KB", 1000},
    Unit{"MB", 1000'000},
    Unit{"GB", 1000'000'000},
    Unit{"TB", 1000'000'000'000},
    Unit{"KiB", 1ULL << 10U},
    Unit{"MiB", 1ULL << 20U},
    Unit{"GiB", 1ULL << 30U},
    Unit{"TiB", 1ULL << 40U},
    Unit{"k", 1ULL << 10U},
    Unit{"K", 1ULL << 10U},
    Unit{"M", 1ULL << 20U},
    Unit{"G", 1ULL << 30U},
    Unit{"T", 1ULL << 40U},
};

constexpr std::array durations = {
    Unit{"s", 1},        Unit{"min", 60},      Unit{"h", 3600},       Unit{"day", 86400},
    Unit{"days", 86400}, Unit{"week", 604800}, Unit{"weeks", 604800},
};

} // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> known) {
    if (word.empty() || word.size() > word_limit)
        return {};
    std::string_view best;
    size_t least = std::max<size_t>(2, word.size() / 3) + 1; // as many errors as a third of its letters
    for (std::string_view candidate : known) {
        size_t d = distance(word, candidate);
        if (d < least && d < candidate.size()) {
            least = d;
            best = candidate;
        }
    }
    return best;
}

std::expected<uint64_t, std::string> parse_size(std::string_view text) {
    uint64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc::result_out_of_range)
        return std::unexpected("a size beyond 16 EiB");
    if (error != std::errc())
        return std::unexpected("a size is a whole number and a unit, such as \"256 MiB\"");
    std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
    while (unit.starts_with(' '))
        unit.remove_prefix(1);
    const auto *found = std::ranges::find(units, unit, &Unit::name);
    if (found == units.end())
        return std::unexpected("a size is a whole number and one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB");
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(number, found->bytes, &bytes))
        return std::unexpected("a size beyond 16 EiB");
    return bytes;
}

std::expected<uint64_t, std::string> parse_duration(std::string_view text) {
    constexpr const char *wanted = "a time is \"never\", or a whole number and one of s, min, h, days, weeks";
    if (text == "never")
        return UINT64_MAX;
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc())
        return std::unexpected(wanted);
    std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
    while (unit.starts_with(' '))
        unit.remove_prefix(1);
    const auto *found = std::ranges::find(durations, unit, &Unit::name);
    constexpr uint64_t century = 100ULL * 366 * 86400;
    if (found == durations.end())
        return std::unexpected(wanted);
    if (number > century / found->bytes)
        return std::unexpected("a time beyond a hundred years: write \"never\"");
    return number * found->bytes;
}

std::string size_text(uint64_t bytes) {
    constexpr std::array<std::string_view, 5> names = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes != 0 && bytes % 1024 == 0 && unit + 1 < names.size(); unit++)
        bytes /= 1024;
    return fmt::format("{} {}", bytes, names[unit]);
}

std::string duration_text(uint64_t seconds) {
    if (seconds == UINT64_MAX)
        return "never";
    constexpr std::array larger = {Unit{"days", 86400}, Unit{"h", 3600}, Unit{"min", 60}};
    for (const Unit &unit : larger)
        if (seconds != 0 && seconds % unit.bytes == 0)
            return fmt::format("{} {}", seconds / unit.bytes, unit.name);
    return fmt::format("{} s", seconds);
}

} // namespace abey::policy
