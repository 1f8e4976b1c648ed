// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/sections.h"

#include <fnmatch.h>

namespace abey::policy {
namespace {

constexpr size_t section_limit = 200;

using Names = std::vector<std::string>;

template <auto member> Result<> read_patterns(const Reader &reader, const toml::node &value, Section &section) {
    return each(reader, value, [&](const toml::node &entry) -> Result<> {
        const auto text = TRY(read_string(reader, entry));
        if (text.empty() || text.find('\0') != std::string_view::npos)
            return reader.error(entry, "expected a name, or a pattern for names");
        (section.*member).emplace_back(text);
        return {};
    });
}

constexpr std::array<Key<Section>, 2> user_keys = {{
    {"names", read_patterns<&Section::users>},
    {"groups", read_patterns<&Section::groups>},
}};
constexpr std::array<Key<Section>, 5> session_keys = {{
    {"users", read_patterns<&Section::users>},
    {"groups", read_patterns<&Section::groups>},
    {"services", read_patterns<&Section::services>},
    {"ttys", read_patterns<&Section::ttys>},
    {"units", read_patterns<&Section::units>},
}};

std::span<const Key<Section>> own_keys(SectionKind kind) {
    if (kind == SectionKind::user)
        return user_keys;
    return session_keys;
}

// Keys that nobody would ask a section for. An empty key: the whole table.
struct Misplaced {
    std::string_view table, key;
    bool in_user; // also in [[user]]; otherwise only in [[session]]
    std::string_view about;
};
constexpr std::array misplaced = {
    Misplaced{"triggers", "first", true, "all users"},
    Misplaced{"triggers", "units", true, "all users"},
    Misplaced{"retention", "min-free", true, "the store, which is everybody's"},
    Misplaced{"retention", "", false, "all checkpoints of a user"},
    Misplaced{"limits", "checkpoints-per-user", false, "all sessions of a user"},
    Misplaced{"limits", "size-per-user", false, "all sessions of a user"},
    Misplaced{"limits", "jobs-per-minute", false, "all sessions of a user"},
};

Result<> refuse_misplaced(const Reader &reader, const toml::table &table, SectionKind kind) {
    AllOf all;
    for (const auto &one : misplaced) {
        if (kind == SectionKind::user && !one.in_user)
            continue;
        const auto *inner = table[one.table].as_table();
        if (inner == nullptr)
            continue;
        const size_t before = reader.mistakes();
        const auto instead =
            one.in_user ? fmt::format("[{}]", one.table) : fmt::format("[{}] or [user.{}]", one.table, one.table);
        if (one.key.empty())
            all.take(reader.error(*inner, "[session.{}] cannot be: it is about {}; write it in {}", one.table,
                                  one.about, instead));
        else if (const auto found = inner->find(one.key); found != inner->end())
            all.take(reader.error(found->first.source(), "\"{}\" cannot be in [{}{}]: it is about {}; write it in {}",
                                  one.key, reader.part(), one.table, one.about, instead));
        reader.about(one.key.empty() ? one.table : one.key, before);
    }
    return std::move(all).result();
}

// All but the section's own keys, which say whom it is for.
Result<> read_contents(const Reader &reader, const toml::table &table, SectionKind kind, Policy::Rules &rules) {
    AllOf all;
    for (const auto &[key, value] : table) {
        const auto keys = general_keys();
        const auto found = std::ranges::find(keys, key.str(), &Key<Policy::Rules>::name);
        const size_t before = reader.mistakes();
        if (found != keys.end()) {
            all.take(found->read(reader, value, rules));
        } else if (std::ranges::find(own_keys(kind), key.str(), &Key<Section>::name) == own_keys(kind).end()) {
            std::vector<std::string_view> known;
            std::ranges::transform(keys, std::back_inserter(known), &Key<Policy::Rules>::name);
            std::ranges::transform(own_keys(kind), std::back_inserter(known), &Key<Section>::name);
            all.take(unknown_key(reader, key, kind == SectionKind::user ? "[[user]]" : "[[session]]", known));
        }
        reader.about(key.str(), before);
    }
    return std::move(all).result();
}

std::string_view part_of(SectionKind kind) { return kind == SectionKind::user ? "user." : "session."; }

bool any_is_like(const Names &patterns, const std::string &name) {
    return std::ranges::any_of(
        patterns, [&](const std::string &pattern) { return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0; });
}

bool is_for(const Section &section, const Subject &subject) {
    const auto matches = [](const Names &patterns, const std::string &name) {
        return patterns.empty() || any_is_like(patterns, name);
    };
    if (!section.groups.empty() && std::ranges::none_of(subject.groups, [&](const std::string &group) {
            return any_is_like(section.groups, group);
        }))
        return false;
    if (!matches(section.users, subject.user))
        return false;
    return section.kind == SectionKind::user ||
           (subject.is_session && matches(section.services, subject.service) && matches(section.ttys, subject.tty) &&
            matches(section.units, subject.unit));
}

Result<> read_one_section(const Reader &reader, const toml::table &table, SectionKind kind, Policy::Rules &rules) {
    const auto inner = reader.within(part_of(kind));
    Section section{.kind = kind, .origin = reader.origin(table)};
    AllOf all;
    bool is_chosen = false;
    for (const auto &key : own_keys(kind))
        if (const auto *wanted = table.get(key.name); wanted != nullptr) {
            const size_t before = reader.mistakes();
            all.take(key.read(inner, *wanted, section));
            reader.about(key.name, before);
            is_chosen = true;
        }
    all.take(refuse_misplaced(inner, table, kind));
    Policy::Rules tried;
    all.take(read_contents(inner, table, kind, tried));
    // A key that was mistaken may be the one that is missing
    TRY(std::move(all).result());
    if (!is_chosen)
        return reader.error(table, "this [[{}]] does not say {}", kind == SectionKind::user ? "user" : "session",
                            kind == SectionKind::user
                                ? "whom it is for: add \"names\" or \"groups\""
                                : "which it is for: add \"users\", \"groups\", \"services\", \"ttys\" or \"units\"");
    section.text = std::make_shared<SectionText>(reader.document, &table, reader.name());
    rules.sections.push_back(std::move(section));
    return {};
}

} // namespace

Result<> read_sections(const Reader &reader, const toml::node &value, SectionKind kind, Policy::Rules &rules) {
    const std::string_view name = kind == SectionKind::user ? "user" : "session";
    const auto *array = value.as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>())
        return reader.error(value, "\"{}\" is an array of tables, each written [[{}]]; found {}", name, name,
                            type_name(value));
    if (array->size() + rules.sections.size() > section_limit)
        return reader.error(value, "more than {} [[user]] and [[session]] tables", section_limit);
    AllOf all;
    for (const auto &entry : *array)
        all.take(read_one_section(reader, *entry.as_table(), kind, rules));
    return std::move(all).result();
}

Result<Policy::Rules> lay_over(const Policy::Rules &rules, const Subject &subject) {
    Policy::Rules all = rules;
    all.sections.clear();
    std::vector<std::string> told_already;
    std::vector<Mistake> mistakes; // none: all was read before
    // What is said of a session counts more than what is said of its user, wherever it stands.
    for (const auto kind : {SectionKind::user, SectionKind::session})
        for (const auto &section : rules.sections)
            if (section.kind == kind && is_for(section, subject)) {
                const Reader reader(section.text->file, told_already, mistakes);
                TRY(read_contents(reader.within(part_of(kind)), *section.text->table, kind, all));
            }
    return all;
}

} // namespace abey::policy
