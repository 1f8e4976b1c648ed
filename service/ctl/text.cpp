// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/text.h"

#include "engine/os/date.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

namespace abey::ctl {
namespace {

// Characters, as far as a table is concerned: UTF-8 sequences, without those that colour them ("ESC [ ... m").
size_t width_of(std::string_view text) {
    size_t width = 0;
    bool colouring = false;
    for (const char c : text) {
        if (c == '\x1b')
            colouring = true;
        else if (colouring)
            colouring = c != 'm';
        else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80)
            width++;
    }
    return width;
}

} // namespace

std::string human_duration(uint64_t microseconds) {
    const auto value = static_cast<double>(microseconds);
    if (microseconds < 1000)
        return fmt::format("{} us", microseconds);
    if (microseconds < 1'000'000)
        return fmt::format("{:.1f} ms", value / 1e3);
    if (microseconds < 60'000'000)
        return fmt::format("{:.2f} s", value / 1e6);
    return fmt::format("{} min {} s", microseconds / 60'000'000, microseconds / 1'000'000 % 60);
}

std::string human_time(uint64_t microseconds) {
    const auto date = os::local_date(static_cast<std::time_t>(microseconds / 1'000'000), "%a %Y-%m-%d %H:%M:%S");
    return date.empty() ? "?" : date;
}

std::string human_age(uint64_t then, uint64_t now) {
    constexpr uint64_t day = 86400;
    const auto seconds = now > then ? (now - then) / 1'000'000 : 0;
    const auto age = seconds < 60        ? fmt::format("{} s", seconds)
                     : seconds < 3600    ? fmt::format("{} min", seconds / 60)
                     : seconds < 2 * day ? fmt::format("{} h", seconds / 3600)
                                         : fmt::format("{} days", seconds / day);
    return fmt::format("{} ({} ago)", human_time(then), age);
}

std::string progress_line(std::string_view verb, std::string_view phase, uint32_t percent) {
    constexpr size_t width = 24;
    percent = std::min(percent, 100U);
    const size_t filled = percent * width / 100;
    return fmt::format("{} [{}{}] {:3}% {}", verb, std::string(filled, '#'), std::string(width - filled, '.'), percent,
                       phase);
}

std::string Table::text() const {
    std::vector<size_t> widths(rows_.front().size());
    for (const auto &row : rows_)
        for (size_t i = 0; i < widths.size(); i++)
            widths[i] = std::max(widths[i], width_of(row.at(i)));
    std::string text;
    for (const auto &row : rows_) {
        std::string line;
        for (size_t i = 0; i < widths.size(); i++) {
            const std::string padding(widths[i] - width_of(row[i]), ' ');
            const bool right = std::ranges::find(right_, i) != right_.end();
            line += (i > 0 ? "  " : "") + (right ? padding + row[i] : row[i] + padding);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

} // namespace abey::ctl
