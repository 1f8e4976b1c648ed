// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/rule_tables.h"

#include "engine/os/user.h"
#include "policy/file_system.h"

namespace abey::policy {

namespace {

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

template <class Rule> Result<> read_paths(const Reader &reader, const toml::node &value, Rule &rule) {
    return each(reader, value, [&](const toml::node &entry) { return read_glob(reader, entry, rule.paths); });
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
    const auto found = os::find_user(name);
    if (!found)
        return reader.error(value, "{}", found.error().message());
    const auto &user = *found;
    if (!user)
        return reader.error(value, "there is no user {} (a number is taken, too)", in_quotes(name));
    rule.owners.push_back(user->uid);
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
        return reader.error(value, "unknown file system {}", in_quotes(name));
    return reader.mistake(value.source(), meant,
                          fmt::format("unknown file system {}, did you mean \"{}\"?", in_quotes(name), meant));
}

// Each reads one key's value; plain functions, so that a table's description is data.
constexpr std::array<Key<FileRule>, 10> file_keys = {{
    {"path", read_paths<FileRule>},
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

} // namespace

Result<> read_file_rule(const Reader &reader, const toml::table &table, FileRule &rule) {
    TRY(read_table(reader, table, "[[file]]", file_keys, rule));
    if (rule.strategies.empty())
        return reader.error(table, "this [[file]] does not say what to do: add \"strategy\" or \"strategies\"");
    if (rule.min_size && rule.max_size && *rule.min_size > *rule.max_size)
        return reader.error(table, "\"min-size\" is greater than \"max-size\": no file can match");
    rule.origin = reader.origin(table);
    return {};
}

namespace {

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
    {"path", read_paths<AreaRule>},
    {"directory", read_directory},
}};

} // namespace

Result<> read_area_rule(const Reader &reader, const toml::table &table, AreaRule &rule) {
    TRY(read_table(reader, table, "[[area]]", area_keys, rule));
    if (rule.directory.empty())
        return reader.error(table, "this [[area]] does not say where: add \"directory\"");
    return {};
}

namespace {

constexpr std::array action_words = {
    Word{"hangup", model::PeerAction::hangup},
    Word{"reconnect", model::PeerAction::reconnect},
    Word{"keep", model::PeerAction::keep},
    Word{"fail", model::PeerAction::fail},
};

// An abstract name, "@name", is no path: it is matched as "/@name", and one without a name as "/".
Result<> read_socket(const Reader &reader, const toml::node &value, PeerRule &rule) {
    std::string pattern(TRY(read_string(reader, value)));
    if (pattern.starts_with('@'))
        pattern.insert(0, "/");
    auto glob = Glob::compile(pattern);
    if (!glob)
        return reader.error(value, "{}; that of an abstract socket with \"@\"", glob.error());
    rule.sockets.push_back(std::move(*glob));
    return {};
}

constexpr std::array bus_words = {
    Word{"system", std::array{"/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"}},
    Word{"user", std::array{"/run/user/*/bus", "/@/tmp/dbus-*"}},
};

constexpr std::array<Key<PeerRule>, 5> peer_keys = {{
    {"socket",
     [](const Reader &reader, const toml::node &value, PeerRule &rule) {
         return each(reader, value, [&](const toml::node &entry) { return read_socket(reader, entry, rule); });
     }},
    {"bus",
     [](const Reader &reader, const toml::node &value, PeerRule &rule) {
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             for (const char *pattern : TRY(read_word(reader, entry, bus_words)))
                 rule.sockets.push_back(Glob::compile(pattern).value());
             return {};
         });
     }},
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
         std::vector<model::PeerAction> actions;
         const auto read = [&](const toml::node &entry) -> Result<> {
             actions.push_back(TRY(read_word(reader, entry, action_words)));
             return {};
         };
         TRY(each(reader, value, read));
         const bool several = actions.size() == 2 && actions[0] == model::PeerAction::keep;
         if (actions.size() != 1 && !several)
             return reader.error(value, "there is one action, or \"keep\" and what is done when that is not possible");
         rule.action = actions.front();
         if (several)
             rule.otherwise = actions.back();
         return {};
     }},
}};

} // namespace

Result<> read_peer_rule(const Reader &reader, const toml::table &table, PeerRule &rule) {
    TRY(read_table(reader, table, "[[peer]]", peer_keys, rule));
    if (!rule.action)
        return reader.error(table, "this [[peer]] does not say what to do: add \"action\"");
    if (!rule.sockets.empty() && !(rule.addresses.empty() && rule.ports.empty()))
        return reader.error(table, "this [[peer]] is about unix sockets, which have neither \"address\" nor \"port\"");
    if (!rule.sockets.empty() && rule.action == model::PeerAction::keep)
        return reader.error(table, "a connection of unix sockets cannot be kept: the \"action\" is one of hangup, "
                                   "reconnect, fail");
    rule.origin = reader.origin(table);
    return {};
}

namespace {

constexpr std::array device_words = {Word{"fail", engine::DeviceAction::fail}, Word{"drop", engine::DeviceAction::drop},
                                     Word{"replace", engine::DeviceAction::replace}};

constexpr std::array<Key<DeviceRule>, 2> device_keys = {{
    {"path", read_paths<DeviceRule>},
    {"action",
     [](const Reader &reader, const toml::node &value, DeviceRule &rule) -> Result<> {
         rule.action = TRY(read_word(reader, value, device_words));
         return {};
     }},
}};

} // namespace

Result<> read_device_rule(const Reader &reader, const toml::table &table, DeviceRule &rule) {
    TRY(read_table(reader, table, "[[device]]", device_keys, rule));
    if (!rule.action)
        return reader.error(table, "this [[device]] does not say what to do: add \"action\"");
    rule.origin = reader.origin(table);
    return {};
}

namespace {

constexpr std::array<Key<PinRule>, 2> pin_keys = {{
    {"path", read_paths<PinRule>},
    {"strategies",
     [](const Reader &reader, const toml::node &value, PinRule &rule) -> Result<> {
         if (is_empty_array(value))
             return {}; // none of these files, whatever later rules say
         return each(reader, value, [&](const toml::node &entry) -> Result<> {
             rule.strategies.push_back(TRY(read_word(reader, entry, pin_words)));
             return {};
         });
     }},
}};

} // namespace

Result<> read_pin_rule(const Reader &reader, const toml::table &table, PinRule &rule) {
    TRY(read_table(reader, table, "[[pin]]", pin_keys, rule));
    if (!table.contains("strategies"))
        return reader.error(table, "this [[pin]] does not say how: add \"strategies\"");
    return {};
}

namespace {

constexpr std::array<Key<ChangedRule>, 2> changed_keys = {{
    {"path", read_paths<ChangedRule>},
    {"action",
     [](const Reader &reader, const toml::node &value, ChangedRule &rule) -> Result<> {
         rule.action = TRY(read_word(reader, value, changed_words));
         return {};
     }},
}};

} // namespace

Result<> read_changed_rule(const Reader &reader, const toml::table &table, ChangedRule &rule) {
    TRY(read_table(reader, table, "[[changed]]", changed_keys, rule));
    if (!rule.action)
        return reader.error(table, "this [[changed]] does not say what to do: add \"action\"");
    return {};
}

namespace {

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

} // namespace

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

} // namespace abey::policy
