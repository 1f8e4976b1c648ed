// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Colours, for states and verdicts only: what they say stands in the words as well. Pure but for has_colour().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace abey::ctl {

enum class Tone : uint8_t { plain, good, warning, bad, faint };

// Only where output goes to a terminal that knows colours; `no_color` and `term` are the values of NO_COLOR
// (https://no-color.org: any that is not empty forbids) and TERM, null when they are not set.
bool wants_colour(bool is_terminal, const char *no_color, const char *term);
// The same of this process's standard output.
bool has_colour();

// What the state of a checkpoint (store::State) looks like.
Tone tone_of(std::string_view state);

// With the sequences of ECMA-48 (SGR) around it; the text as it is when there is to be no colour.
std::string painted(Tone tone, std::string_view text, bool colour);

} // namespace abey::ctl
