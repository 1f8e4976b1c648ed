// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/modes.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include <fmt/format.h>

namespace abey::session {
namespace {

constexpr char escape = '\x1b';
constexpr char bell = '\a';
constexpr size_t held_limit = 64;
constexpr size_t pen_limit = 200; // there are fewer attributes than that, but a program may set them again and again

// Calls `use` with every number of "1;25;2004".
template <class Use> void each_number(std::string_view parameters, Use use) {
    while (!parameters.empty()) {
        unsigned number = 0;
        const size_t end = std::min(parameters.find(';'), parameters.size());
        const auto [stop, code] = std::from_chars(parameters.data(), parameters.data() + end, number);
        if (code == std::errc() && stop == parameters.data() + end)
            use(number);
        parameters.remove_prefix(std::min(end + 1, parameters.size()));
    }
}

bool is_alternate(unsigned number) { return number == 47 || number == 1047 || number == 1049; }

} // namespace

bool Modes::take(char byte) {
    if (byte == escape) {
        // Within a string it may be the first half of its end (ST).
        in_ = in_ == In::string ? In::string_escape : In::escape;
        held_.clear();
        overlong_ = false;
        return false;
    }
    switch (in_) {
    case In::text:
        if (byte == '\x0e' || byte == '\x0f')
            shifted_out_ = byte == '\x0e';
        break;
    case In::string:
        if (byte == bell)
            in_ = In::text;
        break;
    case In::string_escape:
        if (byte == '\\') {
            in_ = In::text;
            break;
        }
        in_ = In::escape;
        [[fallthrough]];
    case In::escape:
        if (byte == '[')
            in_ = In::sequence;
        else if (std::string_view("]P_^X").contains(byte))
            in_ = In::string;
        else if (byte >= '\x20' && byte <= '\x2f') {
            held_ = byte;
            in_ = In::intermediate;
        } else
            end_of_escape(byte);
        break;
    case In::intermediate:
        if (byte < '\x20' || byte > '\x2f')
            end_of_escape(byte);
        break;
    case In::sequence:
        if (byte >= '\x20' && byte <= '\x3f') {
            overlong_ = overlong_ || held_.size() >= held_limit;
            if (!overlong_)
                held_ += byte;
        } else if (byte >= '\x40') {
            const bool turns = byte == 'h' && !overlong_ && wants_alternate(held_);
            end_of_sequence(byte);
            return turns;
        }
        break;
    }
    return false;
}

void Modes::end_of_escape(char final) {
    in_ = In::text;
    if (held_ == "(" || held_ == ")")
        sets_[held_ == "(" ? 0 : 1] = final;
    else if (!held_.empty())
        return;
    else if (final == '=' || final == '>')
        application_keys_ = final == '=';
    else if (final == 'c')
        reset();
}

void Modes::end_of_sequence(char final) {
    in_ = In::text;
    if (overlong_)
        return;
    const std::string_view held = held_;
    if ((final == 'h' || final == 'l') && held.starts_with('?'))
        set_private(held.substr(1), final == 'h');
    else if ((final == 'h' || final == 'l') && held == "4")
        insert_ = final == 'h';
    else if (final == 'r' && held.find_first_not_of("0123456789;") == std::string_view::npos)
        region_ = held;
    else if (final == 'q' && held.ends_with(' '))
        cursor_shape_ = held.substr(0, held.size() - 1);
    else if (final == 'm' && held.find_first_not_of("0123456789;:") == std::string_view::npos)
        set_pen(held);
    else if (final == 'p' && held == "!")
        soft_reset();
}

void Modes::set_pen(std::string_view parameters) {
    if (parameters.empty() || parameters == "0" || parameters.starts_with("0;")) {
        pen_.clear();
        parameters.remove_prefix(std::min<size_t>(parameters.size(), 2));
    }
    if (!parameters.empty())
        fmt::format_to(std::back_inserter(pen_), ";{}", parameters);
    if (pen_.size() > pen_limit) // from a whole parameter on; the oldest do not matter any more, or hardly
        pen_.erase(0, pen_.find(';', pen_.size() - pen_limit));
}

bool Modes::wants_alternate(std::string_view parameters) const {
    bool wanted = false;
    if (parameters.starts_with('?') && !alternate_)
        each_number(parameters.substr(1), [&](unsigned number) { wanted = wanted || is_alternate(number); });
    return wanted;
}

void Modes::set_private(std::string_view parameters, bool on) {
    each_number(parameters, [&](unsigned number) {
        if (is_alternate(number))
            alternate_ = on;
        auto *const mode = std::ranges::find(private_, number, &Private::number);
        if (mode != private_.end())
            mode->on = on;
    });
}

void Modes::reset() { *this = Modes(); }

// DECSTR
void Modes::soft_reset() {
    insert_ = application_keys_ = shifted_out_ = false;
    sets_ = {'B', 'B'};
    region_.clear();
    pen_.clear();
    set_private("1", false);
    set_private("7;25", true);
}

std::string Modes::text() const {
    std::string text = fmt::format("\x1b({}\x1b){}{}\x1b[4{}\x1b{}\x1b[{}r\x1b[{} q", sets_[0], sets_[1],
                                   shifted_out_ ? '\x0e' : '\x0f', insert_ ? 'h' : 'l', application_keys_ ? '=' : '>',
                                   region_, cursor_shape_);
    // First those that are off: one kind of pointer reports that is switched off takes the others with it.
    for (const bool on : {false, true})
        for (const Private &mode : private_)
            if (mode.on == on)
                text += fmt::format("\x1b[?{}{}", mode.number, on ? 'h' : 'l');
    return text + fmt::format("\x1b[0{}m", pen_);
}

// The screen first: with it comes a cursor that was saved, and with that its attributes, character sets and origin
// mode.
std::string Modes::plain() { return "\x1b[?1049l\x1b[?6l" + Modes().text(); }

} // namespace abey::session
