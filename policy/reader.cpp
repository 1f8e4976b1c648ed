// SPDX-License-Identifier: LGPL-2.1-or-later
//
// TOML -> checked rules. Every table is described by a list of its keys; what is not in the list is an error that names
// file, line and column.
#include "policy/file_system.h"
#include "policy/rules.h"
#include "policy/words.h"

#include <algorithm>
#include <array>

#include <pwd.h>

#include <toml++/toml.h>

namespace abey::policy {

namespace {

// A place in a policy file, for messages.
class Reader {
  public:
    explicit Reader(const std::string &name) : name_(name) {}

    template <class... Args>
    [[nodiscard]] std::unexpected<Error> error(const toml::source_region &at, fmt::format_string<Args...> format,
                                               Args &&...args) const {
        return fail(0, "{}:{}:{}: {}", name_, at.begin.line, at.begin.column,
                    fmt::format(format, std::forward<Args>(args)...));
    }
    template <class... Args>
    [[nodiscard]] std::unexpected<Error> error(const toml::node &at, fmt::format_string<Args...> format,
                                               Args &&...args) const {
        return error(at.source(), format, std::forward<Args>(args)...);
    }
    [[nodiscard]] std::string origin(const toml::node &at) const {
        return fmt::format("{}:{}", name_, at.source().begin.line);
    }

  private:
    const std::string &name_;
};

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

// What the file wrote, safe to print in one line.
std::string quoted(std::string_view text) {
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

template <class T> struct Key {
    std::string_view name;
    Result<> (*read)(const Reader &reader, const toml::node &value, T &into);
};

template <class T, size_t N>
Result<> read_table(const Reader &reader, const toml::table &table, std::string_view title,
                    const std::array<Key<T>, N> &keys, T &into) {
    for (const auto &[key, value] : table) {
        const auto found = std::ranges::find(keys, key.str(), &Key<T>::name);
        if (found == keys.end()) {
            std::array<std::string_view, N> known;
            std::ranges::transform(keys, known.begin(), &Key<T>::name);
            std::string_view meant = nearest(key.str(), known);
            if (meant.empty())
                return reader.error(key.source(), "unknown key {} in {}", quoted(key.str()), title);
            return reader.error(key.source(), "unknown key {} in {}, did you mean \"{}\"?", quoted(key.str()), title,
                                meant);
        }
        TRY(found->read(reader, value, into));
    }
    return {};
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
            return reader.error(value, "unknown value {}, did you mean \"{}\"?", quoted(text), meant);
        return reader.error(value, "unknown value {}, expected one of {}", quoted(text), list);
    };
    return read();
}

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

constexpr std::array strategy_words = {
    Word{"embed", model::Strategy::embed},   Word{"copy", model::Strategy::copy},
    Word{"relink", model::Strategy::relink}, Word{"reflink", model::Strategy::reflink},
    Word{"empty", model::Strategy::empty},   Word{"fail", model::Strategy::fail},
};
constexpr std::array state_words = {
    Word{"deleted", FileState::deleted},
    Word{"linked", FileState::linked},
    Word{"unnamed", FileState::unnamed},
    Word{"not-lasting", FileState::not_lasting},
};
enum class Use : uint8_t { any, open, mapped };
constexpr std::array use_words = {Word{"any", Use::any}, Word{"open", Use::open}, Word{"mapped", Use::mapped}};
constexpr std::array provider_words = {
    Word{"auto", HomeProvider::automatic}, Word{"btrfs", HomeProvider::btrfs},     Word{"rsync", HomeProvider::rsync},
    Word{"tar", HomeProvider::tar},        Word{"reflink", HomeProvider::reflink}, Word{"none", HomeProvider::none},
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
constexpr std::array pin_words = {
    Word{"reflink", model::Strategy::reflink},
    Word{"copy", model::Strategy::copy},
};
constexpr std::array changed_words = {
    Word{"accept", ChangedAction::accept},
    Word{"restore-size", ChangedAction::restore_size},
    Word{"fail", ChangedAction::fail},
};
constexpr std::array event_words = {
    Word{"pre-suspend", HookEvent::pre_suspend},
    Word{"post-suspend", HookEvent::post_suspend},
    Word{"pre-resume", HookEvent::pre_resume},
    Word{"post-resume", HookEvent::post_resume},
};
enum class As : uint8_t { root, user };
constexpr std::array as_words = {Word{"root", As::root}, Word{"user", As::user}};
constexpr std::array login_words = {Word{"auto", OnLogin::automatic}, Word{"ask", OnLogin::ask},
                                    Word{"never", OnLogin::never}};
constexpr std::array act_words = {Word{"nothing", Act::nothing}, Word{"checkpoint", Act::checkpoint},
                                  Word{"suspend", Act::suspend}};

Result<> read_glob(const Reader &reader, const toml::node &value, std::vector<Glob> &into) {
    auto glob = Glob::compile(TRY(read_string(reader, value)));
    if (!glob)
        return reader.error(value, "{}", glob.error());
    into.push_back(std::move(*glob));
    return {};
}

Result<> read_strategies(const Reader &reader, const toml::node &value, FileRule &rule) {
    if (!rule.strategies.empty())
        return reader.error(value, "both \"strategy\" and \"strategies\" are given: keep one of them");
    return each(reader, value, [&](const toml::node &entry) -> Result<> {
        auto strategy = TRY(read_word(reader, entry, strategy_words));
        if (!rule.strategies.empty() &&
            (rule.strategies.back() == model::Strategy::empty || rule.strategies.back() == model::Strategy::fail))
            return reader.error(entry, "\"{}\" would never be tried after \"{}\"", strategy_name(strategy),
                                strategy_name(rule.strategies.back()));
        if (std::ranges::find(rule.strategies, strategy) != rule.strategies.end())
            return reader.error(entry, "\"{}\" is listed twice", strategy_name(strategy));
        rule.strategies.push_back(strategy);
        return {};
    });
}

Result<> read_owner(const Reader &reader, const toml::node &value, FileRule &rule) {
    if (const auto *number = value.as_integer()) {
        if (number->get() < 0 || number->get() >= 0xffffffffLL)
            return reader.error(value, "a user id lies between 0 and 4294967294");
        rule.owners.push_back(static_cast<uint32_t>(number->get()));
        return {};
    }
    std::string name(TRY(read_string(reader, value)));
    struct passwd entry = {};
    struct passwd *found = nullptr;
    std::array<char, 16384> buffer = {};
    if (name.find('\0') != std::string::npos ||
        ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
        return reader.error(value, "there is no user {} (a number is taken, too)", quoted(name));
    rule.owners.push_back(entry.pw_uid);
    return {};
}

Result<> read_file_system(const Reader &reader, const toml::node &value, FileRule &rule) {
    std::string_view name = TRY(read_string(reader, value));
    if (auto magic = file_system_magic(name)) {
        rule.file_systems.push_back(*magic);
        return {};
    }
    std::vector<std::string_view> known;
    for (const auto &entry : file_system_names())
        known.push_back(entry.name);
    std::string_view meant = nearest(name, known);
    if (meant.empty())
        return reader.error(value, "unknown file system {}", quoted(name));
    return reader.error(value, "unknown file system {}, did you mean \"{}\"?", quoted(name), meant);
}

// Each reads one key's value; plain functions, so that a table's description is data.
constexpr std::array<Key<FileRule>, 10> file_keys = {{
    {"path",
     [](const Reader &reader, const toml::node &value, FileRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_glob(reader, entry, rule.paths); });
     }},
    {"min-size",
     [](const Reader &reader, const toml::node &value, FileRule &rule) -> Result<> {
         rule.min_size = TRY(read_size(reader, value));
         return {};
     }},
    {"max-size",
     [](const Reader &reader, const toml::node &value, FileRule &rule) -> Result<> {
         rule.max_size = TRY(read_size(reader, value));
         return {};
     }},
    {"file-system",
     [](const Reader &reader, const toml::node &value, FileRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_file_system(reader, entry, rule); });
     }},
    {"owner",
     [](const Reader &reader, const toml::node &value, FileRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_owner(reader, entry, rule); });
     }},
    {"state",
     [](const Reader &reader, const toml::node &value, FileRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             rule.states.push_back(TRY(read_word(reader, entry, state_words)));
             return {};
         });
     }},
    {"use",
     [](const Reader &reader, const toml::node &value, FileRule &rule) -> Result<> {
         Use use = TRY(read_word(reader, value, use_words));
         if (use != Use::any)
             rule.mapped = use == Use::mapped;
         return {};
     }},
    {"writable",
     [](const Reader &reader, const toml::node &value, FileRule &rule) -> Result<> {
         rule.writable = TRY(read_bool(reader, value));
         return {};
     }},
    {"strategy", read_strategies},
    {"strategies", read_strategies},
}};

Result<> read_file_rule(const Reader &reader, const toml::table &table, FileRule &rule) {
    TRY(read_table(reader, table, "[[file]]", file_keys, rule));
    if (rule.strategies.empty())
        return reader.error(table, "this [[file]] does not say what to do: add \"strategy\" or \"strategies\"");
    if (rule.min_size && rule.max_size && *rule.min_size > *rule.max_size)
        return reader.error(table, "\"min-size\" is greater than \"max-size\": no file can match");
    rule.origin = reader.origin(table);
    return {};
}

Result<> read_directory(const Reader &reader, const toml::node &value, AreaRule &rule) {
    std::string directory(TRY(read_string(reader, value)));
    bool absolute = directory.starts_with('/');
    bool name_ok = !directory.empty() && directory != "." && directory != ".." && directory.size() <= 200 &&
                   directory.find('/') == std::string::npos;
    bool path_ok = absolute && directory.size() > 1 && directory.size() < 3500 && !directory.ends_with('/') &&
                   directory.find("//") == std::string::npos && (directory + "/").find("/../") == std::string::npos &&
                   (directory + "/").find("/./") == std::string::npos;
    if (directory.find('\0') != std::string::npos || !(absolute ? path_ok : name_ok))
        return reader.error(value, "expected an absolute path without \".\", \"..\" and empty parts, or a plain name");
    rule.directory = std::move(directory);
    return {};
}

constexpr std::array<Key<AreaRule>, 2> area_keys = {{
    {"path",
     [](const Reader &reader, const toml::node &value, AreaRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_glob(reader, entry, rule.paths); });
     }},
    {"directory", read_directory},
}};

Result<> read_area_rule(const Reader &reader, const toml::table &table, AreaRule &rule) {
    TRY(read_table(reader, table, "[[area]]", area_keys, rule));
    if (rule.directory.empty())
        return reader.error(table, "this [[area]] does not say where: add \"directory\"");
    return {};
}

constexpr std::array action_words = {
    Word{"hangup", model::PeerAction::hangup},
    Word{"reconnect", model::PeerAction::reconnect},
    Word{"fail", model::PeerAction::fail},
};

constexpr std::array<Key<PeerRule>, 3> peer_keys = {{
    {"address",
     [](const Reader &reader, const toml::node &value, PeerRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             auto range = AddressRange::parse(TRY(read_string(reader, entry)));
             if (!range)
                 return reader.error(entry, "{}", range.error());
             rule.addresses.push_back(std::move(*range));
             return {};
         });
     }},
    {"port",
     [](const Reader &reader, const toml::node &value, PeerRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             const auto *number = entry.as_integer();
             if (number == nullptr || number->get() < 1 || number->get() > UINT16_MAX)
                 return reader.error(entry, "a port is a number between 1 and 65535");
             rule.ports.push_back(static_cast<uint16_t>(number->get()));
             return {};
         });
     }},
    {"action",
     [](const Reader &reader, const toml::node &value, PeerRule &rule) -> Result<> {
         rule.action = TRY(read_word(reader, value, action_words));
         return {};
     }},
}};

Result<> read_peer_rule(const Reader &reader, const toml::table &table, PeerRule &rule) {
    TRY(read_table(reader, table, "[[peer]]", peer_keys, rule));
    if (!rule.action)
        return reader.error(table, "this [[peer]] does not say what to do: add \"action\"");
    rule.origin = reader.origin(table);
    return {};
}

constexpr std::array<Key<PinRule>, 2> pin_keys = {{
    {"path",
     [](const Reader &reader, const toml::node &value, PinRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_glob(reader, entry, rule.paths); });
     }},
    {"strategies",
     [](const Reader &reader, const toml::node &value, PinRule &rule) -> Result<> {
         if (const auto *array = value.as_array(); array != nullptr && array->empty())
             return {}; // none of these files, whatever later rules say
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             rule.strategies.push_back(TRY(read_word(reader, entry, pin_words)));
             return {};
         });
     }},
}};

Result<> read_pin_rule(const Reader &reader, const toml::table &table, PinRule &rule) {
    TRY(read_table(reader, table, "[[pin]]", pin_keys, rule));
    if (!table.contains("strategies"))
        return reader.error(table, "this [[pin]] does not say how: add \"strategies\"");
    return {};
}

constexpr std::array<Key<ChangedRule>, 2> changed_keys = {{
    {"path",
     [](const Reader &reader, const toml::node &value, ChangedRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_glob(reader, entry, rule.paths); });
     }},
    {"action",
     [](const Reader &reader, const toml::node &value, ChangedRule &rule) -> Result<> {
         rule.action = TRY(read_word(reader, value, changed_words));
         return {};
     }},
}};

Result<> read_changed_rule(const Reader &reader, const toml::table &table, ChangedRule &rule) {
    TRY(read_table(reader, table, "[[changed]]", changed_keys, rule));
    if (!rule.action)
        return reader.error(table, "this [[changed]] does not say what to do: add \"action\"");
    return {};
}

constexpr std::array<Key<HookRule>, 6> hook_keys = {{
    {"at",
     [](const Reader &reader, const toml::node &value, HookRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             rule.events.push_back(TRY(read_word(reader, entry, event_words)));
             return {};
         });
     }},
    {"run",
     [](const Reader &reader, const toml::node &value, HookRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             std::string word(TRY(read_string(reader, entry)));
             if (word.find('\0') != std::string::npos)
                 return reader.error(entry, "a zero byte cannot be part of an argument");
             if (rule.command.empty() && !word.starts_with('/') && !word.starts_with("~/"))
                 return reader.error(entry, "the program is named by an absolute path, or one that begins with \"~/\"");
             rule.command.push_back(std::move(word));
             return {};
         });
     }},
    {"as",
     [](const Reader &reader, const toml::node &value, HookRule &rule) -> Result<> {
         rule.as_user = TRY(read_word(reader, value, as_words)) == As::user;
         return {};
     }},
    {"optional",
     [](const Reader &reader, const toml::node &value, HookRule &rule) -> Result<> {
         rule.optional = TRY(read_bool(reader, value));
         return {};
     }},
    {"time-limit",
     [](const Reader &reader, const toml::node &value, HookRule &rule) -> Result<> {
         const auto text = TRY(read_string(reader, value));
         const auto limit = parse_duration(text);
         if (!limit)
             return reader.error(value, "{}", limit.error());
         if (*limit == 0 || *limit > 3600)
             return reader.error(value, "a hook may take between 1 s and 1 h");
         rule.time_limit = *limit;
         return {};
     }},
    {"users",
     [](const Reader &reader, const toml::node &value, HookRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             rule.users.emplace_back(TRY(read_string(reader, entry)));
             return {};
         });
     }},
}};

Result<> read_hook_rule(const Reader &reader, const toml::table &table, HookRule &rule) {
    TRY(read_table(reader, table, "[[hook]]", hook_keys, rule));
    if (rule.events.empty())
        return reader.error(table, "this [[hook]] does not say when: add \"at\"");
    if (rule.command.empty())
        return reader.error(table, "this [[hook]] does not say what: add \"run\"");
    // A program that a user can write must never run as root.
    if (!rule.as_user && rule.command.front().starts_with("~/"))
        return reader.error(table, "a program in the user's home is run as the user only: add as = \"user\"");
    rule.origin = reader.origin(table);
    return {};
}

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

template <auto section, auto member> Result<> read_count(const Reader &reader, const toml::node &value, Rules &rules) {
    constexpr int64_t most = 10'000;
    const auto *number = value.as_integer();
    if (number == nullptr)
        return reader.error(value, "expected a whole number, found {}", type_name(value));
    if (number->get() < 0 || number->get() > most)
        return reader.error(value, "expected a number between 0 and {}", most);
    (rules.service.*section).*member = static_cast<uint64_t>(number->get());
    return {};
}

Result<> read_first(const Reader &reader, const toml::node &value, Rules &rules) {
    std::vector<std::string> names;
    TRY(each(reader, value, [&](const toml::node &entry) -> Result<> {
        auto name = read_string(reader, entry);
        if (!name)
            return std::unexpected(std::move(name).error());
        names.emplace_back(*name);
        return {};
    }));
    rules.service.triggers.first = std::move(names);
    return {};
}

constexpr auto triggers = &ServiceRules::triggers;
constexpr auto retention = &ServiceRules::retention;
constexpr auto user_limits = &ServiceRules::user_limits;

constexpr std::array<Key<Rules>, 6> trigger_keys = {{
    {"on-sleep", read_act<triggers, &Triggers::on_sleep>},
    {"on-shutdown", read_act<triggers, &Triggers::on_shutdown>},
    {"on-lock", read_act<triggers, &Triggers::on_lock>},
    {"on-idle", read_act<triggers, &Triggers::on_idle>},
    {"idle-after", read_duration<triggers, &Triggers::idle_after>},
    {"first", read_first},
}};

constexpr std::array<Key<Rules>, 4> retention_keys = {{
    {"checkpoints", read_count<retention, &Retention::checkpoints>},
    {"max-age", read_duration<retention, &Retention::max_age>},
    {"suspended-max-age", read_duration<retention, &Retention::suspended_max_age>},
    {"min-free", read_amount<retention, &Retention::min_free>},
}};

constexpr std::array<Key<Rules>, 5> limit_keys = {{
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
}};

constexpr std::array<Key<Rules>, 1> not_lasting_keys = {{
    {"paths",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.not_lasting.clear();
         if (const auto *array = value.as_array(); array != nullptr && array->empty())
             return {}; // every file system that is not in memory lasts
         return each(reader, value,
                     [&](const toml::node &entry) { return read_glob(reader, entry, rules.not_lasting); });
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

constexpr std::array<Key<Rules>, 4> home_keys = {{
    {"provider",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.home_provider = TRY(read_word(reader, value, provider_words));
         return {};
     }},
    {"verify",
     [](const Reader &reader, const toml::node &value, Rules &rules) -> Result<> {
         rules.home_verified.trees.clear();
         if (const auto *array = value.as_array(); array != nullptr && array->empty())
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

template <size_t N>
Result<> read_section(const Reader &reader, const toml::node &value, std::string_view name,
                      const std::array<Key<Rules>, N> &keys, Rules &rules) {
    const auto *table = value.as_table();
    if (table == nullptr)
        return reader.error(value, "\"{}\" is a table, written [{}]; found {}", name, name, type_name(value));
    return read_table(reader, *table, fmt::format("[{}]", name), keys, rules);
}

// Rules of this file go before those of earlier files, in their own order.
template <class T, class F>
Result<> read_rule_list(const Reader &reader, const toml::node &value, std::string_view name, std::vector<T> &into,
                        F &&read) {
    const auto *array = value.as_array();
    if (array == nullptr || !array->is_homogeneous<toml::table>())
        return reader.error(value, "\"{}\" is an array of tables, each written [[{}]]; found {}", name, name,
                            type_name(value));
    if (array->size() + into.size() > rule_count_limit)
        return reader.error(value, "more than {} [[{}]] rules", rule_count_limit, name);
    std::vector<T> rules(array->size());
    for (size_t i = 0; i < array->size(); i++)
        TRY(read(reader, *array->get(i)->as_table(), rules[i]));
    into.insert(into.begin(), std::make_move_iterator(rules.begin()), std::make_move_iterator(rules.end()));
    return {};
}

constexpr std::array<Key<Rules>, 12> top_keys = {{
    {"file", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "file", rules.files, read_file_rule); }},
    {"area", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "area", rules.areas, read_area_rule); }},
    {"peer", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "peer", rules.peers, read_peer_rule); }},
    {"pin", [](const Reader &reader, const toml::node &value,
               Rules &rules) { return read_rule_list(reader, value, "pin", rules.pins, read_pin_rule); }},
    {"changed",
     [](const Reader &reader, const toml::node &value, Rules &rules) {
         return read_rule_list(reader, value, "changed", rules.changed, read_changed_rule);
     }},
    {"hook", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_rule_list(reader, value, "hook", rules.hooks, read_hook_rule); }},
    {"not-lasting", [](const Reader &reader, const toml::node &value,
                       Rules &rules) { return read_section(reader, value, "not-lasting", not_lasting_keys, rules); }},
    {"limits", [](const Reader &reader, const toml::node &value,
                  Rules &rules) { return read_section(reader, value, "limits", limit_keys, rules); }},
    {"home", [](const Reader &reader, const toml::node &value,
                Rules &rules) { return read_section(reader, value, "home", home_keys, rules); }},
    {"resume", [](const Reader &reader, const toml::node &value,
                  Rules &rules) { return read_section(reader, value, "resume", resume_keys, rules); }},
    {"triggers", [](const Reader &reader, const toml::node &value,
                    Rules &rules) { return read_section(reader, value, "triggers", trigger_keys, rules); }},
    {"retention", [](const Reader &reader, const toml::node &value,
                     Rules &rules) { return read_section(reader, value, "retention", retention_keys, rules); }},
}};

} // namespace

Result<> read_rules(std::string_view text, const std::string &name, Policy::Rules &rules) {
    if (text.size() > policy_size_limit)
        return fail(EFBIG, "{}: a policy file has at most {} bytes", name, policy_size_limit);
    Reader reader(name);
    toml::table document;
    try {
        document = toml::parse(text);
    } catch (const toml::parse_error &e) {
        std::string description(e.description());
        std::ranges::replace(description, '\n', ' ');
        return reader.error(e.source(), "{}", description);
    } catch (const std::exception &e) {
        return fail(0, "{}: cannot be read as TOML: {}", name, e.what());
    }
    return read_table(reader, document, "the file", top_keys, rules);
}

} // namespace abey::policy
