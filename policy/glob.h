// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <bitset>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace abey::policy {

// A compiled pattern for absolute paths, as docs/POLICY.md tells: `?` one byte, `*` any bytes, `[a-z]` and `[!a-z]` one
// of a set (none of these matches `/`), `**/` any number of directories, also none, `**` elsewhere anything, `\` takes
// the next byte as it is. Paths are bytes. The time taken is at most proportional to pattern times path, whatever they
// are.
class Glob {
  public:
    // The pattern compiled, or what is wrong with it.
    static std::expected<Glob, std::string> compile(std::string_view pattern);

    [[nodiscard]] bool matches(std::string_view path) const;
    // As it was written.
    [[nodiscard]] const std::string &pattern() const { return pattern_; }

  private:
    enum class Op : uint8_t {
        set,              // one byte of `bytes`
        any_within_name,  // `*`
        any,              // `**`
        directories,      // `**/`: nothing, or what `directories_loop` takes
        directories_loop, // any bytes, left after a `/`
    };
    struct Step {
        Op op = Op::set;
        std::bitset<256> bytes;
    };

    void enter(std::vector<bool> &states, size_t step) const;

    std::string pattern_;
    std::vector<Step> steps_;
};

} // namespace abey::policy
