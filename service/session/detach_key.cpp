// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/detach_key.h"

#include <cerrno>

namespace abey::session {
namespace {

constexpr std::string_view control_prefix = "ctrl-";
constexpr size_t key_limit = 4;
constexpr char control_bit = '\x40'; // Ctrl-A is A without it
constexpr char rubout = '\x7f';

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool is_control_prefix(std::string_view text) {
    if (text.size() != control_prefix.size() + 1)
        return false;
    for (size_t i = 0; i < control_prefix.size(); ++i)
        if (upper(text[i]) != upper(control_prefix[i]))
            return false;
    return true;
}

Result<char> parse_key(std::string_view text) {
    if (text.size() == 1 && text.front() > ' ' && text.front() < rubout)
        return text.front();
    if (is_control_prefix(text))
        if (const char c = upper(text.back()); c >= '@' && c <= '_')
            return static_cast<char>(c ^ control_bit);
    return fail(EINVAL, "\"{}\" is no key: expected a character, or ctrl- and one of a-z, @, [, \\, ], ^, _", text);
}

} // namespace

Result<std::string> parse_detach_key(std::string_view text) {
    std::string keys;
    for (std::string_view rest = text;;) {
        const auto comma = rest.find(',');
        keys += TRY_IN(parse_key(rest.substr(0, comma)), "detach key \"{}\"", text);
        if (keys.size() > key_limit)
            return fail(EINVAL, "detach key \"{}\": more than {} keys", text, key_limit);
        if (comma == std::string_view::npos)
            return keys;
        rest.remove_prefix(comma + 1);
    }
}

std::string in_words(std::string_view keys) {
    std::string words;
    for (const char key : keys) {
        words += words.empty() ? "" : " ";
        if (key < ' ')
            words += "Ctrl-";
        words += key < ' ' ? static_cast<char>(key ^ control_bit) : key;
    }
    return words;
}

std::string DetachKey::filter(std::string_view typed) {
    std::string sent;
    for (const char key : typed) {
        if (detached_)
            break;
        if (key == keys_[seen_]) {
            detached_ = ++seen_ == keys_.size();
            continue;
        }
        if (seen_ == 1 && key == keys_.front()) {
            seen_ = 0;
            sent += key;
            continue;
        }
        // What was held back is sent, but for its end, where that may be a new beginning
        std::string held = keys_.substr(0, seen_) + key;
        while (!held.empty() && !keys_.starts_with(held)) {
            sent += held.front();
            held.erase(0, 1);
        }
        seen_ = held.size();
    }
    return sent;
}

} // namespace abey::session
