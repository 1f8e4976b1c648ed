// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The keys that leave an attached terminal.
#pragma once

#include "engine/os/result.h"

#include <string>
#include <string_view>

namespace abey::session {

inline constexpr std::string_view default_detach_key = "\x1c\x04"; // Ctrl-\ Ctrl-D

// "ctrl-a,d", "ctrl-]": one to four keys, each a character of ASCII or ctrl- and one, as bytes. Pure.
Result<std::string> parse_detach_key(std::string_view text);
// "Ctrl-\ Ctrl-D"
std::string in_words(std::string_view keys);

// Finds the keys in what the user types: typed one after the other they detach. Where there are several, the first one
// typed twice means it once; before anything else it is no more than itself.
class DetachKey {
  public:
    explicit DetachKey(std::string_view keys = default_detach_key) : keys_(keys) {}

    // What is to be sent of `typed`; once it has seen the keys, detached() is true and the rest is dropped.
    std::string filter(std::string_view typed);
    [[nodiscard]] bool detached() const { return detached_; }

  private:
    std::string keys_;
    size_t seen_ = 0; // of keys_, held back
    bool detached_ = false;
};

} // namespace abey::session
