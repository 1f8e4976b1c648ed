// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/values.h"

namespace abey::policy {

std::unexpected<Error> Reader::mistake(const toml::source_region &at, std::string_view nearest,
                                       std::string message) const {
    Mistake one{.file = name_,
                .line = at.begin.line,
                .column = at.begin.column,
                .key = {},
                .nearest = std::string(nearest),
                .message = std::move(message)};
    auto error = fail(0, "{}", one.text());
    mistakes_.push_back(std::move(one));
    return error;
}

void Reader::about(std::string_view key, size_t since) const {
    for (Mistake &one : std::span(mistakes_).subspan(since))
        if (one.key.empty())
            one.key = key;
}

std::string_view type_name(const toml::node &node) {
    switch (node.type()) {
    case toml::node_type::table:
        return "a table";
    case toml::node_type::array:
        return "an array";
    case toml::node_type::string:
        return "a string";
    case toml::node_type::integer:
        return "an integer";
    case toml::node_type::boolean:
        return "true or false";
    case toml::node_type::floating_point:
        return "a fraction";
    default:
        return "a date or time";
    }
}

std::string in_quotes(std::string_view text) {
    constexpr size_t shown = 60;
    std::string out = "\"";
    for (char c : text.substr(0, shown)) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            out += c;
    }
    return out + (text.size() > shown ? "...\"" : "\"");
}
Result<std::string_view> read_string(const Reader &reader, const toml::node &value) {
    if (const auto *text = value.as_string())
        return std::string_view(text->get());
    return reader.error(value, "expected a string, found {}", type_name(value));
}

Result<bool> read_bool(const Reader &reader, const toml::node &value) {
    if (const auto *flag = value.as_boolean())
        return flag->get();
    return reader.error(value, "expected true or false, found {}", type_name(value));
}

Result<uint64_t> read_size(const Reader &reader, const toml::node &value) {
    if (const auto *number = value.as_integer()) {
        if (number->get() < 0)
            return reader.error(value, "a size is not negative");
        return static_cast<uint64_t>(number->get());
    }
    auto size = parse_size(TRY(read_string(reader, value)));
    if (!size)
        return reader.error(value, "{}", size.error());
    return *size;
}
bool is_empty_array(const toml::node &value) {
    const auto *array = value.as_array();
    return array != nullptr && array->empty();
}

Result<> read_glob(const Reader &reader, const toml::node &value, std::vector<Glob> &into) {
    auto glob = Glob::compile(TRY(read_string(reader, value)));
    if (!glob)
        return reader.error(value, "{}", glob.error());
    into.push_back(std::move(*glob));
    return {};
}

std::unexpected<Error> unknown_key(const Reader &reader, const toml::key &key, std::string_view title,
                                   std::span<const std::string_view> known) {
    const auto meant = nearest(key.str(), known);
    if (meant.empty())
        return reader.error(key.source(), "unknown key {} in {}", in_quotes(key.str()), title);
    return reader.mistake(
        key.source(), meant,
        fmt::format("unknown key {} in {}, did you mean \"{}\"?", in_quotes(key.str()), title, meant));
}

Result<> check_name(const Reader &reader, const toml::key &key, const toml::table &table, std::string_view title,
                    std::string_view now) {
    if (table.contains(now))
        return reader.error(key.source(), "\"{}\" is the former name of \"{}\", which is in this {}, too", key.str(),
                            now, title);
    reader.warn(key.source(), "\"{}\" in {} is deprecated: it is called \"{}\" now", key.str(), title, now);
    return {};
}

} // namespace abey::policy
