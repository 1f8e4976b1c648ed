// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/text.h"

#include "engine/os/date.h"

#include <algorithm>
#include <ctime>
#include <span>

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

// Its first characters and an ellipsis, `width` in all; without colours.
std::string shortened(const std::string &text, size_t width) {
    size_t end = 0;
    for (size_t characters = 0; end < text.size(); end++)
        if ((static_cast<unsigned char>(text[end]) & 0xC0U) != 0x80 && ++characters == width)
            break;
    return text.substr(0, end) + "…";
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

std::string human_ago(uint64_t then, uint64_t now) {
    constexpr uint64_t day = 86400;
    const auto seconds = now > then ? (now - then) / 1'000'000 : 0;
    const auto age = seconds < 60        ? fmt::format("{} s", seconds)
                     : seconds < 3600    ? fmt::format("{} min", seconds / 60)
                     : seconds < 2 * day ? fmt::format("{} h", seconds / 3600)
                                         : fmt::format("{} days", seconds / day);
    return age + " ago";
}

std::string human_age(uint64_t then, uint64_t now) {
    return fmt::format("{} ({})", human_time(then), human_ago(then, now));
}

std::string progress_line(std::string_view verb, std::string_view phase, uint32_t percent) {
    constexpr size_t width = 24;
    percent = std::min(percent, 100U);
    const size_t filled = percent * width / 100;
    return fmt::format("{} [{}{}] {:3}% {}", verb, std::string(filled, '#'), std::string(width - filled, '.'), percent,
                       phase);
}

std::string Table::text(size_t room) const {
    const std::span rows = std::span(rows_).subspan(header_ ? 0 : 1);
    constexpr size_t between = 2;
    std::vector<size_t> widths(rows_.front().size()); // 0: it is left out
    size_t all = 0;
    for (size_t i = 0; i < widths.size(); i++) {
        for (const auto &row : rows)
            widths[i] = std::max(widths[i], width_of(row[i]));
        all += widths[i] + between;
    }
    const auto omit = [&](size_t column) {
        all -= widths[column] == 0 ? 0 : widths[column] + between;
        widths[column] = 0;
    };
    for (const size_t column : omit_empty_)
        if (std::ranges::all_of(std::span(rows_).subspan(1), [&](const auto &row) { return row[column].empty(); }))
            omit(column);
    const auto narrow = [&] { // by one
        size_t *widest = nullptr;
        for (const auto &[column, least] : cut_)
            if (widths[column] > least && (widest == nullptr || widths[column] > *widest))
                widest = &widths[column];
        if (widest != nullptr)
            --*widest;
        all -= widest == nullptr ? 0 : 1;
        return widest != nullptr;
    };
    const auto fits = [&] { return room == 0 || all <= room + between; };
    while (!fits() && narrow()) {
    }
    for (const size_t column : omit_)
        if (!fits())
            omit(column);
    std::string text;
    for (const auto &row : rows) {
        std::string line;
        for (size_t i = 0; i < widths.size(); i++) {
            if (widths[i] == 0)
                continue;
            const std::string cell = width_of(row[i]) > widths[i] ? shortened(row[i], widths[i]) : row[i];
            const std::string padding(widths[i] - width_of(cell), ' ');
            const bool right = std::ranges::find(right_, i) != right_.end();
            line += (line.empty() ? "" : std::string(between, ' ')) + (right ? padding + cell : cell + padding);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

} // namespace abey::ctl
