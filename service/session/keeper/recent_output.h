// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a terminal has shown last, kept so that whoever attaches sees it.
#pragma once

#include <string>
#include <string_view>

namespace abey::session {

class RecentOutput {
  public:
    explicit RecentOutput(size_t limit) : limit_(limit) {}
    void append(std::string_view output);
    // At most `limit` bytes, the last ones; begins after a newline when something before it has been forgotten.
    [[nodiscard]] std::string_view text() const;

  private:
    size_t limit_;
    std::string bytes_; // at most twice the limit, so that the front is cut off seldom
    bool forgotten_ = false;
};

// Output as it may be shown again: without the sequences by which a program asks its terminal a question (ECMA-48 and
// xterm: DA, DSR, window and mode reports) and without control strings (OSC, DCS, APC, PM, SOS). The answers would
// reach the program, or the shell after it, as if they had been typed.
std::string without_questions(std::string_view output);

} // namespace abey::session
