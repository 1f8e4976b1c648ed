// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/colour.h"

#include <cstdlib>

#include <unistd.h>

#include <fmt/format.h>

namespace abey::ctl {
namespace {

// Of the eight colours that every terminal has, so that the user's own palette holds.
std::string_view sequence_of(Tone tone) {
    switch (tone) {
    case Tone::good:
        return "\x1b[32m";
    case Tone::warning:
        return "\x1b[33m";
    case Tone::bad:
        return "\x1b[1;31m";
    case Tone::faint:
        return "\x1b[2m";
    case Tone::plain:
        break;
    }
    return "";
}

} // namespace

bool wants_colour(bool is_terminal, const char *no_color, const char *term) {
    const bool forbidden = no_color != nullptr && *no_color != '\0';
    const std::string_view kind = term == nullptr ? "" : term;
    return is_terminal && !forbidden && !kind.empty() && kind != "dumb";
}

bool has_colour() {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    return wants_colour(::isatty(STDOUT_FILENO) != 0, std::getenv("NO_COLOR"), std::getenv("TERM"));
}

Tone tone_of(std::string_view state) {
    if (state == "waiting")
        return Tone::good;
    return state == "resumed" ? Tone::faint : Tone::warning;
}

std::string painted(Tone tone, std::string_view text, bool colour) {
    if (!colour || tone == Tone::plain || text.empty())
        return std::string(text);
    return fmt::format("{}{}\x1b[0m", sequence_of(tone), text);
}

} // namespace abey::ctl
