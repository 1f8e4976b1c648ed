// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TOML -> checked rules. Every table is described by a list of its keys; what is not in the list is an error that names
// file, line and column.
#include "engine/os/utf8.h"
#include "policy/rule_tables.h"
#include "policy/sections.h"
#include "policy/written.h"

namespace abey::policy {

namespace {

constexpr std::array provider_words = {
    Word{"auto", HomeProvider::automatic}, Word{"btrfs", HomeProvider::btrfs},     Word{"rsync", HomeProvider::rsync},
    Word{"tar", HomeProvider::tar},        Word{"reflink", HomeProvider::reflink}, Word{"none", HomeProvider::none},
    Word{"nilfs2", HomeProvider::nilfs2},
};
constexpr std::array divergence_words = {
    Word{"rollback", OnDivergence::rollback},
    Word{"private", OnDivergence::private_home},
    Word{"keep", OnDivergence::keep},
    Word{"fail", OnDivergence::fail},
};
constexpr std::array pid_words = {
    Word{"auto", Pids::automatic},
    Word{"same", Pids::same},
    Word{"namespace", Pids::in_namespace},
};
constexpr std::array login_words = {Word{"auto", OnLogin::automatic}, Word{"ask", OnLogin::ask},
                                    Word{"never", OnLogin::never}};
constexpr std::array login_end_words = {Word{"stay", OnLoginEnd::stay}, Word{"suspend", OnLoginEnd::suspend},
                                        Word{"end", OnLoginEnd::end}};
constexpr std::array scope_words = {Word{"none", GraphicalScope::nothing},
                                    Word{"terminal-sessions", GraphicalScope::terminal_sessions},
                                    Word{"units", GraphicalScope::units}};
constexpr std::array act_words = {Word{"nothing", Act::nothing}, Word{"checkpoint", Act::checkpoint},
                                  Word{"suspend", Act::suspend}};

using Rules = Policy::Rules;

template <auto section, auto member> Result<> read_act(const Reader &reader, const toml::node &value, Rules &rules) {
    (rules.service.*section).*member = TRY(read_word(reader, value, act_words));
    return {};
}

template <auto section, auto member>
Result<> read_duration(const Reader &reader, const toml::node &value, Rules &rules) {
    const auto text = read_string(reader, value);
    if (!text)
        return std::unexpected(text.error());
    const auto duration = parse_duration(*text);
    if (!duration)
        return reader.error(value, "{}", duration.error());
    (rules.service.*section).*member = *duration;
    return {};
}

template <auto section, auto member> Result<> read_amount(const Reader &reader, const toml::node &value, Rules &rules) {
    (rules.service.*section).*member = TRY(read_size(reader, value));
    return {};
}

Result<uint64_t> read_number(const Reader &reader, const toml::node &value) {
    constexpr int64_t most = 10'000;
    const auto *number = value.as_integer();
    if (number == nullptr)
        return reader.error(value, "expected a whole number, found {}", type_name(value));
    if (number->get() < 0 || number->get() > most)
        return reader.error(value, "expected a number between 0 and {}", most);
    return static_cast<uint64_t>(number->get());
}

template <auto section, auto member> Result<> read_count(const Reader &reader, const toml::node &value, Rules &rules) {
    (rules.service.*section).*member = TRY(read_number(reader, value));
    return {};
}

template <auto section, auto member>
Result<> read_count_or_all(const Reader &reader, const toml::node &value, Rules &rules) {
    if (const auto *text = value.as_string(); text != nullptr) {
        if (text->get() != "all")
            return reader.error(value, "expected a number or \"all\", found \"{}\"", text->get());
        (rules.service.*section).*member = never;
        return {};
    }
    return read_count<section, member>(reader, value, rules);
}

template <auto section, auto member> Result<> read_names(const Reader &reader, const toml::node &value, Rules &rules) {
    std::vector<std::string> names;
    if (is_empty_array(value)) {
        (rules.service.*section).*member = {};
        return {};
    }
    TRY(each(reader, value, [&](const toml::node &entry) -> Result<> {
        auto name = read_string(reader, entry);
        if (!name)
            return std::unexpected(std::move(name).error());
        names.emplace_back(*name);
        return {};
    }));
    (rules.service.*section).*member = std::move(names);
    return {};
}

constexpr auto triggers = &ServiceRules::triggers;
constexpr auto retention = &ServiceRules::retention;
constexpr auto user_limits = &ServiceRules::user_limits;

constexpr std::array<Key<Rules>, 8> trigger_keys = {{
    {"on-sleep", read_act<triggers, &Triggers::on_sleep>},
    {"on-shutdown", read_act<triggers, &Triggers::on_shutdown>},
    {"on-lock", read_act<triggers, &Triggers::on_lock>},
    {"on-idle", read_act<triggers, &Triggers::on_idle>},
    {"on-battery-low", read_act<triggers, &Triggers::on_battery_low>},
    {"idle-after", read_duration<triggers, &Triggers::idle_after>},
    {"first", read_names<triggers, &Triggers::first>},
    {"units", read_names<triggers, &Triggers::units>},
}};

constexpr std::array<Key<Rules>, 2> graphical_keys = {{
    {"scope",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.service.graphical.scope = TRY(read_word(reader, value, scope_words));
         return {};
     }},
    {"units", read_names<&ServiceRules::graphical, &Graphical::units>},
}};

constexpr std::array<Key<Rules>, 6> retention_keys = {{
    {"checkpoints", read_count<retention, &Retention::checkpoints>},
    {"max-age", read_duration<retention, &Retention::max_age>},
    {"suspended-max-age", read_duration<retention, &Retention::suspended_max_age>},
    {"min-free", read_amount<retention, &Retention::min_free>},
    {"displaced", read_count_or_all<retention, &Retention::displaced>},
    {"displaced-max-age", read_duration<retention, &Retention::displaced_max_age>},
}};

constexpr std::array<Key<Rules>, 6> limit_keys = {{
    {"embed-limit",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.limits.embed = TRY(read_size(reader, value));
         return {};
     }},
    {"embed-total-limit",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.limits.embed_total = TRY(read_size(reader, value));
         return {};
     }},
    {"checkpoints-per-user", read_count<user_limits, &UserLimits::checkpoints>},
    {"size-per-user", read_amount<user_limits, &UserLimits::size>},
    {"jobs-per-minute", read_count<user_limits, &UserLimits::jobs_per_minute>},
    {"application-delay", read_duration<user_limits, &UserLimits::application_delay>},
}};

// Patterns that take the place of the former ones; an empty array: none.
template <auto member> Result<> read_globs(const Reader &reader, const toml::node &value, Rules &rules) {
    (rules.*member).clear();
    if (is_empty_array(value))
        return {};
    return each(reader, value, [&](const toml::node &entry) { return read_glob(reader, entry, rules.*member); });
}

constexpr std::array<Key<Rules>, 1> not_lasting_keys = {{
    {"paths", read_globs<&Rules::not_lasting>},
}};

constexpr std::array<Key<Rules>, 4> runtime_keys = {{
    {"keep", read_globs<&Rules::unheld>},
    {"leave", read_globs<&Rules::left_unheld>},
    {"max-size",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.unheld_limits.size = TRY(read_size(reader, value));
         return {};
     }},
    {"max-files",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.unheld_limits.files = TRY(read_number(reader, value));
         return {};
     }},
}};

// A path that cannot lead out of the home.
Result<> read_verified_tree(const Reader &reader, const toml::node &value, Rules &rules) {
    std::string path(TRY(read_string(reader, value)));
    const bool whole = path == ".";
    if (!whole &&
        (path.empty() || path.size() > 1000 || path.starts_with('/') || path.ends_with('/') ||
         path.find('\0') != std::string::npos || path.find("//") != std::string::npos ||
         ("/" + path + "/").find("/../") != std::string::npos || ("/" + path + "/").find("/./") != std::string::npos))
        return reader.error(value, "expected a path relative to the home, without \".\" and \"..\" in it, or \".\"");
    rules.home_verified.trees.push_back(std::move(path));
    return {};
}

constexpr std::array layout_words = {Word{"plain", false}, Word{"snapper", true}};

Result<> read_snapshot_directory(const Reader &reader, const toml::node &value, Rules &rules) {
    std::string path(TRY(read_string(reader, value)));
    const bool fine = path.starts_with('/') && path.size() > 1 && path.size() < 3500 && !path.ends_with('/') &&
                      path.find('\0') == std::string::npos && path.find("//") == std::string::npos &&
                      (path + "/").find("/../") == std::string::npos && (path + "/").find("/./") == std::string::npos;
    if (!path.empty() && !fine)
        return reader.error(value, "expected an absolute path without \".\" and \"..\", or \"\"");
    rules.home_snapshots.directory = std::move(path);
    return {};
}

// A plain file name, whatever is filled in; safe in snapper's XML, too.
Result<> read_snapshot_name(const Reader &reader, const toml::node &value, Rules &rules) {
    const std::string_view name = TRY(read_string(reader, value));
    std::string rest(name);
    bool unique = false;
    for (const std::string_view word : {"{id}", "{time}", "{home}"})
        for (size_t at = rest.find(word); at != std::string::npos; at = rest.find(word)) {
            unique = unique || word != "{home}";
            rest.erase(at, word.size());
        }
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("-_.@+").find(c) != std::string_view::npos;
    };
    if (!unique || name.starts_with('.') || name.size() > 100 || !std::ranges::all_of(rest, is_plain))
        return reader.error(value,
                            "expected a name of letters, digits, \"-_.@+\", {{home}}, {{id}} and {{time}}, with one "
                            "of the latter two");
    rules.home_snapshots.name = std::string(name);
    return {};
}

constexpr std::array<Key<Rules>, 7> home_keys = {{
    {"snapshot-directory", read_snapshot_directory},
    {"snapshot-name", read_snapshot_name},
    {"snapshot-layout",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.home_snapshots.snapper = TRY(read_word(reader, value, layout_words));
         return {};
     }},
    {"provider",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.home_provider = TRY(read_word(reader, value, provider_words));
         return {};
     }},
    {"verify",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.home_verified.trees.clear();
         if (is_empty_array(value))
             return {};
         return each(reader, value, [&](const toml::node &entry) { return read_verified_tree(reader, entry, rules); });
     }},
    {"verify-contents",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.home_verified.contents = TRY(read_bool(reader, value));
         return {};
     }},
    {"on-divergence",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.on_divergence = TRY(read_word(reader, value, divergence_words));
         return {};
     }},
}};

constexpr std::array<Key<Rules>, 2> resume_keys = {{
    {"on-login",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.on_login = TRY(read_word(reader, value, login_words));
         return {};
     }},
    {"pids",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.pids = TRY(read_word(reader, value, pid_words));
         return {};
     }},
}};

constexpr std::array<Key<Rules>, 1> attach_keys = {{
    {"on-login-end",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.on_login_end = TRY(read_word(reader, value, login_end_words));
         return {};
     }},
}};

template <size_t N>
Result<> read_section(const Reader &reader, const toml::node &value, std::string_view name,
                      const std::array<Key<Rules>, N> &keys, Rules &rules) {
    const auto *table = value.as_table();
    if (table == nullptr)
        return reader.error(value, "\"{}\" is a table, written [{}{}]; found {}", name, reader.part(), name,
                            type_name(value));
    TRY(read_table(reader, *table, fmt::format("[{}{}]", reader.part(), name), keys, rules));
    for (const auto &[key, one] : *table)
        rules.origins.insert_or_assign(fmt::format("{}.{}", name, key.str()), reader.origin(key.source()));
    return {};
}

// Rules of this file go before those of earlier files, in their own order.
template <class T, class F>
Result<> read_rule_list(const Reader &reader, const toml::node &value, std::string_view name,
                        std::vector<T> Rules::*list, F &&read, Rules &rules) {
    auto &into = rules.*list;
    const auto *array = value.as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>())
        return reader.error(value, "\"{}\" is an array of tables, each written [[{}{}]]; found {}", name, reader.part(),
                            name, type_name(value));
    if (array->size() + into.size() > rule_count_limit)
        return reader.error(value, "more than {} [[{}]] rules", rule_count_limit, name);
    std::vector<T> added(array->size());
    std::vector<WrittenRule> written;
    AllOf all;
    for (size_t i = 0; i < array->size(); i++) {
        const auto &table = *array->get(i)->as_table();
        all.take(read(reader, table, added[i]));
        written.push_back(written_rule(table, reader.origin(table.source())));
    }
    TRY(std::move(all).result());
    into.insert(into.begin(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));
    auto &texts = rules.written[std::string(name)];
    texts.insert(texts.begin(), std::make_move_iterator(written.begin()), std::make_move_iterator(written.end()));
    return {};
}

constexpr std::array<Key<Rules>, 18> top_keys = {{
    {"file", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "file", &Rules::files, read_file_rule, rules); }},
    {"area", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "area", &Rules::areas, read_area_rule, rules); }},
    {"peer", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "peer", &Rules::peers, read_peer_rule, rules); }},
    {"device",
     [](const Reader &reader, const toml::node &value, Rules &rules) {
         return read_rule_list(reader, value, "device", &Rules::devices, read_device_rule, rules);
     }},
    {"pin", [](const Reader &reader, const toml::node &value,
               Rules &rules) { return read_rule_list(reader, value, "pin", &Rules::pins, read_pin_rule, rules); }},
    {"changed",
     [](const Reader &reader, const toml::node &value, Rules &rules) {
         return read_rule_list(reader, value, "changed", &Rules::changed, read_changed_rule, rules);
     }},
    {"hook", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "hook", &Rules::hooks, read_hook_rule, rules); }},
    {"not-lasting", [](const Reader &reader, const toml::node &value,
                       Rules &rules) { return read_section(reader, value, "not-lasting", not_lasting_keys, rules); }},
    {"runtime-directory",
     [](const Reader &reader, const toml::node &value, Rules &rules) {
         return read_section(reader, value, "runtime-directory", runtime_keys, rules);
     }},
    {"limits", [](const Reader &reader, const toml::node &value,
                  Rules &rules) { return read_section(reader, value, "limits", limit_keys, rules); }},
    {"home", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_section(reader, value, "home", home_keys, rules); }},
    {"resume", [](const Reader &reader, const toml::node &value,
                  Rules &rules) { return read_section(reader, value, "resume", resume_keys, rules); }},
    {"attach", [](const Reader &reader, const toml::node &value,
                  Rules &rules) { return read_section(reader, value, "attach", attach_keys, rules); }},
    {"graphical", [](const Reader &reader, const toml::node &value,
                     Rules &rules) { return read_section(reader, value, "graphical", graphical_keys, rules); }},
    {"triggers", [](const Reader &reader, const toml::node &value,
                    Rules &rules) { return read_section(reader, value, "triggers", trigger_keys, rules); }},
    {"retention", [](const Reader &reader, const toml::node &value,
                     Rules &rules) { return read_section(reader, value, "retention", retention_keys, rules); }},
    // The last two hold the others
    {"user", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_sections(reader, value, SectionKind::user, rules); }},
    {"session", [](const Reader &reader, const toml::node &value,
                   Rules &rules) { return read_sections(reader, value, SectionKind::session, rules); }},
}};
constexpr size_t general_count = top_keys.size() - 2;

// toml++ tells of the character before, and asserts that there is one where it is compiled in as headers.
Result<> check_utf8(const Reader &reader, std::string_view text) {
    toml::source_region at{.begin = {.line = 1, .column = 1}, .end = {}, .path = {}};
    while (!text.empty()) {
        const auto length = utf8_length(text);
        const auto first = static_cast<uint8_t>(text.front());
        if (length == 0)
            return reader.error(at, "the byte 0x{:02x} is no UTF-8, in which policies are written", first);
        at.begin.column = first == '\n' ? 1 : at.begin.column + 1;
        at.begin.line += first == '\n' ? 1 : 0;
        text.remove_prefix(length);
    }
    return {};
}

Result<> read_document(Reader &reader, std::string_view text, Policy::Rules &rules) {
    const toml::source_region whole{};
    if (text.size() > policy_size_limit)
        return reader.mistake(whole, {},
                              fmt::format("{}: a policy file has at most {} bytes", reader.name(), policy_size_limit));
    TRY(check_utf8(reader, text));
    auto document = std::make_shared<toml::table>();
    try {
        *document = toml::parse(text);
    } catch (const toml::parse_error &e) {
        std::string description(e.description());
        std::ranges::replace(description, '\n', ' ');
        return reader.error(e.source(), "{}", description);
    } catch (const std::exception &e) {
        return reader.mistake(whole, {}, fmt::format("{}: cannot be read as TOML: {}", reader.name(), e.what()));
    }
    reader.document = document;
    // Sections are checked against what the whole file says
    return read_table(reader, *document, "the file", top_keys, rules);
}

} // namespace

std::span<const Key<Policy::Rules>> general_keys() { return std::span(top_keys).first(general_count); }

std::vector<Mistake> read_rules(std::string_view text, const std::string &name, Policy::Rules &rules) {
    std::vector<Mistake> mistakes;
    Reader reader(name, rules.warnings, mistakes);
    // What went wrong is among the mistakes
    if (!read_document(reader, text, rules))
        std::ranges::stable_sort(mistakes, {}, [](const Mistake &one) { return std::pair(one.line, one.column); });
    return mistakes;
}

} // namespace abey::policy
