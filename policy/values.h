// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How a policy file is read: a table is described by the list of its keys, and every mistake is told with file, line
// and column. Of the reader only: what is read is in rules.h.
#pragma once

#include "policy/mistake.h"
#include "policy/rules.h"
#include "policy/words.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <toml++/toml.h>

namespace abey::policy {

// A policy file that is being read: its name, for messages, and what is to be said of it. A mistake is noted where it
// is found; the error that comes of it tells those above that there was one, so that they can go on with what comes
// next.
class Reader {
  public:
    Reader(const std::string &name, std::vector<std::string> &warnings, std::vector<Mistake> &mistakes)
        : name_(name), warnings_(warnings), mistakes_(mistakes) {}
    // For a part of it, which titles of tables tell: "user."
    [[nodiscard]] Reader within(std::string_view part) const {
        Reader inner = *this;
        inner.part_ = part;
        return inner;
    }
    [[nodiscard]] std::string_view part() const { return part_; }
    [[nodiscard]] const std::string &name() const { return name_; }
    // The parsed file, for what is read only when somebody asks.
    std::shared_ptr<const toml::table> document;

    template <class... Args>
    [[nodiscard]] std::unexpected<Error> error(const toml::source_region &at, fmt::format_string<Args...> format,
                                               Args &&...args) const {
        return mistake(at, {}, fmt::format(format, std::forward<Args>(args)...));
    }
    template <class... Args>
    [[nodiscard]] std::unexpected<Error> error(const toml::node &at, fmt::format_string<Args...> format,
                                               Args &&...args) const {
        return error(at.source(), format, std::forward<Args>(args)...);
    }
    // One that looks like a slip of the pen: `nearest` was probably meant.
    [[nodiscard]] std::unexpected<Error> mistake(const toml::source_region &at, std::string_view nearest,
                                                 std::string message) const;
    // How many mistakes were found, and that those since then are about this key, where nothing nearer is known.
    [[nodiscard]] size_t mistakes() const { return mistakes_.size(); }
    void about(std::string_view key, size_t since) const;
    template <class... Args>
    void warn(const toml::source_region &at, fmt::format_string<Args...> format, Args &&...args) const {
        warnings_.push_back(fmt::format("{}:{}:{}: {}", name_, at.begin.line, at.begin.column,
                                        fmt::format(format, std::forward<Args>(args)...)));
    }
    [[nodiscard]] std::string origin(const toml::source_region &at) const {
        return fmt::format("{}:{}", name_, at.begin.line);
    }
    [[nodiscard]] std::string origin(const toml::node &at) const { return origin(at.source()); }

  private:
    const std::string &name_;
    std::vector<std::string> &warnings_;
    std::vector<Mistake> &mistakes_;
    std::string_view part_;
};

// Of several that are read one after the other, whatever becomes of each.
class AllOf {
  public:
    void take(Result<> one) {
        if (!one && !first_)
            first_ = std::move(one).error();
    }
    [[nodiscard]] Result<> result() && {
        if (first_)
            return std::unexpected(std::move(*first_));
        return {};
    }

  private:
    std::optional<Error> first_;
};

// The kind of a value, with its article, for messages.
std::string_view type_name(const toml::node &node);

// What the file wrote, safe to print in one line.
std::string in_quotes(std::string_view text);

Result<std::string_view> read_string(const Reader &reader, const toml::node &value);
Result<bool> read_bool(const Reader &reader, const toml::node &value);
// Bytes, as a number or a text with a unit.
Result<uint64_t> read_size(const Reader &reader, const toml::node &value);
Result<> read_glob(const Reader &reader, const toml::node &value, std::vector<Glob> &into);

template <class T> struct Key {
    std::string_view name;
    Result<> (*read)(const Reader &reader, const toml::node &value, T &into);
    // Of a key that has been given another name: that one. It still works, with a warning.
    std::string_view now;
};

// Of a key that is none of these.
std::unexpected<Error> unknown_key(const Reader &reader, const toml::key &key, std::string_view title,
                                   std::span<const std::string_view> known);

// Warns of a deprecated key; an error when the table has it under its present name, too.
Result<> check_name(const Reader &reader, const toml::key &key, const toml::table &table, std::string_view title,
                    std::string_view now);

template <class T>
Result<> read_table(const Reader &reader, const toml::table &table, std::string_view title,
                    std::type_identity_t<std::span<const Key<T>>> keys, T &into) {
    const auto read_key = [&](const toml::key &key, const toml::node &value) -> Result<> {
        const auto found = std::ranges::find(keys, key.str(), &Key<T>::name);
        if (found == keys.end()) {
            std::vector<std::string_view> known;
            for (const auto &one : keys)
                if (one.now.empty())
                    known.push_back(one.name);
            return unknown_key(reader, key, title, known);
        }
        if (!found->now.empty())
            TRY(check_name(reader, key, table, title, found->now));
        return found->read(reader, value, into);
    };
    AllOf all;
    for (const auto &[key, value] : table) {
        const size_t before = reader.mistakes();
        all.take(read_key(key, value));
        reader.about(key.str(), before);
    }
    return std::move(all).result();
}

// One of a few words.
template <class T> struct Word {
    std::string_view word;
    T meaning;
};

template <class Words> auto read_word(const Reader &reader, const toml::node &value, const Words &words) {
    using T = decltype(words.begin()->meaning);
    auto read = [&]() -> Result<T> {
        std::string_view text = TRY(read_string(reader, value));
        std::vector<std::string_view> known;
        std::string list;
        for (const auto &word : words) {
            if (word.word == text)
                return word.meaning;
            known.push_back(word.word);
            list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", word.word);
        }
        std::string_view meant = nearest(text, known);
        if (!meant.empty())
            return reader.mistake(value.source(), meant,
                                  fmt::format("unknown value {}, did you mean \"{}\"?", in_quotes(text), meant));
        return reader.error(value, "unknown value {}, expected one of {}", in_quotes(text), list);
    };
    return read();
}

// Where `each` would ask for at least one: none is meant.
bool is_empty_array(const toml::node &value);

// A value or an array of values, at least one.
template <class F> Result<> each(const Reader &reader, const toml::node &value, F &&read) {
    const auto *array = value.as_array();
    if (array == nullptr)
        return read(value);
    if (array->empty())
        return reader.error(value, "an empty array: leave the key out, or name at least one");
    if (array->size() > rule_count_limit)
        return reader.error(value, "more than {} entries", rule_count_limit);
    for (const toml::node &entry : *array)
        TRY(read(entry));
    return {};
}

} // namespace abey::policy
