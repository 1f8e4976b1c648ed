// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/user_unit.h"

#include "engine/os/fd.h"
#include "engine/os/user.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include <fnmatch.h>

namespace abey::session {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view scope_suffix = ".scope";
constexpr std::string_view service_suffix = ".service";
constexpr size_t name_limit = 255; // systemd.unit(5)
constexpr int depth_limit = 8;     // slices within slices
constexpr size_t directory_limit = 10'000;

bool is_unit_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(":-_.\\@").find(c) != std::string_view::npos;
}

// Of user@UID.service, within the hierarchy.
std::string manager_of(uid_t uid) { return fmt::format("/user.slice/user-{}.slice/user@{}.service", uid, uid); }

// One that the user database does not know has its number for a name.
Result<std::string> name_of(uid_t uid) {
    const auto user = TRY(os::find_user(uid));
    return user ? user->name : fmt::format("{}", uid);
}

bool has_processes(const std::string &cgroup) {
    const auto events = read_file(cgroup + "/cgroup.events");
    return events && events->find("populated 1") != std::string::npos;
}

bool has_suffix_of_unit(std::string_view name) {
    return name.ends_with(scope_suffix) || name.ends_with(service_suffix);
}

// Units below a directory; a unit's own groups are part of it.
void find_units(const std::string &directory, int depth, size_t &seen,
                const std::function<void(const std::string &name, const std::string &cgroup)> &found) {
    std::error_code error;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        if (!entry->is_directory(error) || ++seen > directory_limit)
            continue;
        const auto name = entry->path().filename().string();
        if (has_suffix_of_unit(name))
            found(name, entry->path().string());
        else if (depth < depth_limit && name.ends_with(".slice"))
            find_units(entry->path().string(), depth + 1, seen, found);
    }
}

Result<std::string> manager_directory(uid_t uid) {
    const auto mounts = TRY(read_file("/proc/self/mountinfo"));
    return cgroup_directory(mounts, manager_of(uid));
}

Result<Session> session_of(uid_t uid, const std::string &name, const std::string &cgroup) {
    return Session{.id = to_string({uid, name}),
                   .uid = uid,
                   .user = TRY(name_of(uid)),
                   .scope = name,
                   .cgroup = cgroup,
                   .type = "unspecified",
                   .klass = "user",
                   .service = "systemd-user",
                   .state = "active"};
}

} // namespace

Result<UnitId> unit_id(std::string_view text) {
    UnitId unit;
    const auto slash = text.find('/');
    const auto number = text.substr(0, slash);
    const auto [stop, error] = std::from_chars(number.begin(), number.end(), unit.uid);
    if (slash != std::string_view::npos && !number.empty() && error == std::errc() && stop == number.end() &&
        (number == "0" || number.front() != '0'))
        unit.name = text.substr(slash + 1);
    if (unit.name.empty() || unit.name.size() > name_limit || unit.name.front() == '.' ||
        !has_suffix_of_unit(unit.name) || !std::ranges::all_of(unit.name, is_unit_byte))
        return fail(EINVAL, "not the id of a user's scope or service (UID/NAME.scope, UID/NAME.service)");
    return unit;
}

bool is_unit_id(std::string_view text) { return unit_id(text).has_value(); }

std::string to_string(const UnitId &unit) { return fmt::format("{}/{}", unit.uid, unit.name); }

Result<Session> of_unit(const UnitId &unit) { return session_of(unit.uid, unit.name, ""); }

bool is_unit_like(const std::string &pattern, const std::string &name) {
    return (!name.ends_with(service_suffix) || pattern.ends_with(service_suffix)) &&
           ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

bool is_unit_like(const std::vector<std::string> &patterns, const std::string &name) {
    return std::ranges::any_of(patterns, [&](const std::string &pattern) { return is_unit_like(pattern, name); });
}

Result<Session> user_unit(const std::string &id) {
    const auto unit = TRY(unit_id(id));
    const auto directory = TRY(manager_directory(unit.uid));
    std::string cgroup;
    size_t seen = 0;
    // What manages the user's other units is no session.
    if (!directory.empty() && unit.name != "init.scope")
        find_units(directory, 0, seen, [&](const std::string &name, const std::string &found) {
            if (name == unit.name && cgroup.empty())
                cgroup = found;
        });
    if (cgroup.empty() || !has_processes(cgroup))
        return fail(ENXIO, "user {} has no unit {} in which something runs", TRY(name_of(unit.uid)), unit.name);
    return session_of(unit.uid, unit.name, cgroup);
}

Result<std::vector<Session>> user_units(const std::function<bool(const std::string &name)> &wanted) {
    std::vector<Session> all;
    const auto mounts = TRY(read_file("/proc/self/mountinfo"));
    const auto users = cgroup_directory(mounts, "/user.slice");
    std::error_code error;
    for (fs::directory_iterator entry(users, error), end; !error && entry != end; entry.increment(error)) {
        const auto slice = entry->path().filename().string();
        constexpr std::string_view prefix = "user-";
        uid_t uid = 0;
        if (!slice.starts_with(prefix) ||
            std::from_chars(slice.data() + prefix.size(), slice.data() + slice.size(), uid).ec != std::errc())
            continue;
        size_t seen = 0;
        Result<> known;
        find_units(TRY(manager_directory(uid)), 0, seen, [&](const std::string &name, const std::string &cgroup) {
            if (name == "init.scope" || !is_unit_id(to_string({uid, name})) || !wanted(name) || !has_processes(cgroup))
                return;
            if (auto session = session_of(uid, name, cgroup))
                all.push_back(std::move(*session));
            else
                known = std::unexpected(std::move(session).error());
        });
        TRY(known);
    }
    std::ranges::sort(all, {}, &Session::id);
    return all;
}

std::string usual_cgroup(const std::string &session, uid_t uid) {
    if (is_unit_id(session)) {
        const auto unit = user_unit(session);
        return unit ? unit->cgroup : "";
    }
    const auto mounts = read_file("/proc/self/mountinfo");
    if (!mounts || session.empty() || session.find('/') != std::string::npos)
        return "";
    return cgroup_directory(*mounts, fmt::format("/user.slice/user-{}.slice/session-{}.scope", uid, session));
}

std::string unit_of(pid_t pid) {
    const auto group = os::cgroup_of(pid);
    const auto begin = group.find("/user@");
    const auto service = begin == std::string::npos ? begin : group.find(".service/", begin);
    if (service == std::string::npos)
        return "";
    const std::string uid = group.substr(begin + 6, service - begin - 6);
    for (const auto &part : fs::path(group.substr(service + 9)))
        if (const auto id = uid + "/" + part.string(); is_unit_id(id))
            return id;
    return "";
}

} // namespace abey::session
