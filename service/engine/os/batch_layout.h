// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How a batch lies in the region that it is given in a task: code, signal frame, entries, data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace abey::os::batch_layout {

inline constexpr size_t page = 4096;
inline constexpr size_t frame_offset = page;
// A signal frame holds the whole XSAVE area: 2.7 KiB with AVX-512, 11 KiB with AMX.
inline constexpr size_t frame_size = 4 * page;
inline constexpr size_t entries_offset = frame_offset + frame_size;
inline constexpr size_t least_size = 16 * page;

// A quarter of what is left is for calls, the rest for what they point at.
constexpr size_t entries_size(size_t region) { return (region - entries_offset) / 4 / page * page; }

// The walker: position-independent machine code, well under a page.
std::span<const std::byte> code();
// Where in it the walker is when the signal to itself arrives.
size_t final_offset();

} // namespace abey::os::batch_layout
