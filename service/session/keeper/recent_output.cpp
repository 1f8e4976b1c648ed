// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/recent_output.h"

#include <algorithm>

namespace abey::session {
namespace {

constexpr char escape = '\x1b';
constexpr char bell = '\a';

// Length of the control string that begins at 0 with ESC and its letter, with its end (ST, or BEL as xterm has it).
size_t length_of_string(std::string_view text) {
    for (size_t i = 2; i < text.size(); ++i) {
        if (text[i] == bell)
            return i + 1;
        if (text[i] == escape)
            return i + 1 < text.size() && text[i + 1] == '\\' ? i + 2 : i;
    }
    return text.size();
}

// Length of the control sequence ESC [ parameters intermediates final, as far as it is there.
size_t length_of_sequence(std::string_view text) {
    for (size_t i = 2; i < text.size(); ++i) {
        if (text[i] >= '\x40' && text[i] <= '\x7e')
            return i + 1;
        if (text[i] < '\x20' || text[i] > '\x3f')
            return i;
    }
    return text.size();
}

bool is_question(std::string_view sequence) {
    switch (sequence.back()) {
    case 'c': // device attributes
    case 'n': // device status
    case 't': // window reports
    case 'x': // terminal parameters
        return true;
    case 'p': // mode report DECRQM, with $; soft reset has !
        return sequence.contains('$');
    case 'q': // version; cursor shape has a blank
        return sequence.contains('>');
    case 'u': // keyboard protocol query; restore cursor has nothing
        return sequence.contains('?');
    default:
        return false;
    }
}

} // namespace

void RecentOutput::append(std::string_view output) {
    if (output.size() > limit_) {
        output.remove_prefix(output.size() - limit_);
        bytes_.clear();
        forgotten_ = true;
    }
    if (bytes_.size() + output.size() > 2 * limit_) {
        bytes_.erase(0, bytes_.size() + output.size() - limit_);
        forgotten_ = true;
    }
    bytes_ += output;
}

std::string_view RecentOutput::text() const {
    std::string_view text = bytes_;
    if (text.size() > limit_)
        text.remove_prefix(text.size() - limit_);
    else if (!forgotten_)
        return text;
    const size_t line = text.find('\n');
    text.remove_prefix(line == std::string_view::npos ? 0 : line + 1);
    return text;
}

std::string without_questions(std::string_view output) {
    std::string shown;
    while (!output.empty()) {
        const size_t plain = std::min(output.find(escape), output.size());
        shown += output.substr(0, plain);
        output.remove_prefix(plain);
        if (output.empty())
            break;
        size_t length = std::min<size_t>(2, output.size());
        bool keep = true;
        switch (length == 2 ? output[1] : '\0') {
        case '[':
            length = length_of_sequence(output);
            keep = !is_question(output.substr(0, length));
            break;
        case ']':
        case 'P':
        case '_':
        case '^':
        case 'X':
            length = length_of_string(output);
            keep = false;
            break;
        case 'Z': // DECID
            keep = false;
            break;
        case escape: // the first one means nothing
            length = 1;
            keep = false;
            break;
        default:
            break;
        }
        if (keep)
            shown += output.substr(0, length);
        output.remove_prefix(length);
    }
    return shown;
}

} // namespace abey::session
