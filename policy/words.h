// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Words and numbers as the policy's language has them.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace abey::policy {

// The known word that `word` was probably meant to be; empty when none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

// "256 MiB", "4k", "1.5 GB" is not taken: a whole number and a unit (B, kB, MB, GB, TB; KiB, MiB, GiB, TiB; K, M, G, T
// are powers of 1024). The number of bytes, or what is wrong.
std::expected<uint64_t, std::string> parse_size(std::string_view text);

// "30 s", "10 min", "2 h", "7 days", "2 weeks": a whole number and a unit, in seconds; "never" is UINT64_MAX.
std::expected<uint64_t, std::string> parse_duration(std::string_view text);

// The same values in the largest unit that leaves a whole number: "256 MiB", "30 days", "never".
std::string size_text(uint64_t bytes);
std::string duration_text(uint64_t seconds);

} // namespace abey::policy
