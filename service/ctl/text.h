// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Numbers and tables for people. Pure.
#pragma once

#include "engine/os/human_size.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace abey::ctl {

using os::human_size;
// "350 us", "12.3 ms", "1.50 s", "2 min 5 s"
std::string human_duration(uint64_t microseconds);
// "Mon 2026-11-23 10:04:40", local time
std::string human_time(uint64_t microseconds_since_1970);
// "3 h ago"
std::string human_ago(uint64_t then, uint64_t now);
// A time with how long ago it was: "Mon 2026-11-23 10:04:40 (3 h ago)"
std::string human_age(uint64_t then, uint64_t now);

std::string progress_line(std::string_view verb, std::string_view phase, uint32_t percent);

// Columns as wide as their widest cell, two blanks between them, no blanks at the end of a line. Colours of a cell
// (colour.h) take no room. Where there is less room than that, the widest of the columns that may be cut gets narrower.
class Table {
  public:
    explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
    void align_right(size_t column) { right_.push_back(column); }
    // Down to this width; it must not be coloured.
    void allow_cut(size_t column, size_t least) { cut_.emplace_back(column, least); }
    void allow_omission(size_t column) { omit_.push_back(column); } // where that is not enough
    void omit_if_empty(size_t column) { omit_empty_.push_back(column); }
    void without_header() { header_ = false; }
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    // `room` 0: as much as it takes
    [[nodiscard]] std::string text(size_t room = 0) const;

  private:
    std::vector<std::vector<std::string>> rows_;
    std::vector<size_t> right_;
    std::vector<std::pair<size_t, size_t>> cut_; // columns and their least widths
    std::vector<size_t> omit_, omit_empty_;      // columns, the first to go first
    bool header_ = true;
};

} // namespace abey::ctl
