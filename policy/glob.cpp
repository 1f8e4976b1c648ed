// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/glob.h"

namespace abey::policy {

namespace {

constexpr size_t pattern_limit = 4096; // PATH_MAX

// The set that starts after `[` at `at`; moves `at` behind the closing `]`.
std::expected<std::bitset<256>, std::string> read_set(std::string_view pattern, size_t &at) {
    std::bitset<256> bytes;
    bool negated = false;
    if (at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^')) {
        negated = true;
        at++;
    }
    for (bool first = true;; first = false) {
        if (at >= pattern.size())
            return std::unexpected("a \"[\" without \"]\" (write \"\\\\[\" for the bracket itself)");
        if (pattern[at] == ']' && !first)
            break;
        if (pattern[at] == '\\' && at + 1 < pattern.size())
            at++;
        auto low = static_cast<uint8_t>(pattern[at++]);
        auto high = low;
        if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
            at++;
            if (pattern[at] == '\\' && at + 1 < pattern.size())
                at++;
            high = static_cast<uint8_t>(pattern[at++]);
            if (high < low)
                return std::unexpected("a range in \"[...]\" that runs backwards");
        }
        for (unsigned byte = low; byte <= high; byte++)
            bytes.set(byte);
    }
    at++;
    if (negated)
        bytes.flip();
    bytes.reset('/');
    return bytes;
}

} // namespace

std::expected<Glob, std::string> Glob::compile(std::string_view pattern) {
    if (pattern.size() > pattern_limit)
        return std::unexpected("the pattern is longer than 4096 bytes");
    if (!pattern.starts_with('/') && !pattern.starts_with("**"))
        return std::unexpected("a pattern is for the whole path, so it begins with \"/\" or \"**\"");
    if (pattern.find('\0') != std::string_view::npos)
        return std::unexpected("a path holds no NUL byte");

    Glob glob;
    glob.pattern_ = pattern;
    for (size_t at = 0; at < pattern.size();) {
        char byte = pattern[at++];
        if (byte == '*' && at < pattern.size() && pattern[at] == '*') {
            at++;
            bool whole_name = at == 2 || pattern[at - 3] == '/';
            if (whole_name && at < pattern.size() && pattern[at] == '/') {
                // a leading "**/" stands for the root directory as well
                if (at == 2)
                    glob.steps_.push_back({Op::set, std::bitset<256>().set('/')});
                at++;
                glob.steps_.push_back({Op::directories, {}});
                glob.steps_.push_back({Op::directories_loop, {}});
            } else {
                glob.steps_.push_back({Op::any, {}});
            }
        } else if (byte == '*') {
            glob.steps_.push_back({Op::any_within_name, {}});
        } else if (byte == '?') {
            glob.steps_.push_back({Op::set, ~std::bitset<256>().set('/')});
        } else if (byte == '[') {
            auto bytes = read_set(pattern, at);
            if (!bytes)
                return std::unexpected(bytes.error());
            glob.steps_.push_back({Op::set, *bytes});
        } else {
            if (byte == '\\') {
                if (at == pattern.size())
                    return std::unexpected("a \"\\\\\" at the end, with nothing to take as it is");
                byte = pattern[at++];
            }
            glob.steps_.push_back({Op::set, std::bitset<256>().set(static_cast<uint8_t>(byte))});
        }
    }
    return glob;
}

void Glob::enter(std::vector<bool> &states, size_t step) const {
    while (!states[step]) {
        states[step] = true;
        if (step == steps_.size() || steps_[step].op == Op::set || steps_[step].op == Op::directories_loop)
            return;
        if (steps_[step].op == Op::directories) {
            enter(states, step + 2);
            step++;
        } else {
            step++; // stars match the empty string, too
        }
    }
}

// All positions in the pattern that the path read so far can have led to are followed at once: no backtracking, so no
// pattern can make a path expensive.
bool Glob::matches(std::string_view path) const {
    std::vector<bool> now(steps_.size() + 1);
    enter(now, 0);
    std::vector<bool> next(steps_.size() + 1);
    for (char c : path) {
        auto byte = static_cast<uint8_t>(c);
        next.assign(next.size(), false);
        for (size_t i = 0; i < steps_.size(); i++) {
            if (!now[i])
                continue;
            switch (steps_[i].op) {
            case Op::set:
                if (steps_[i].bytes.test(byte))
                    enter(next, i + 1);
                break;
            case Op::any_within_name:
                if (byte != '/')
                    enter(next, i);
                break;
            case Op::any:
                enter(next, i);
                break;
            case Op::directories:
                break; // its loop has been entered with it
            case Op::directories_loop:
                next[i] = true;
                if (byte == '/')
                    enter(next, i + 1);
                break;
            }
        }
        now.swap(next);
    }
    return now.back();
}

} // namespace abey::policy
