// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/user.h"

#include <grp.h>
#include <pwd.h>

namespace abey::os {
namespace {

constexpr size_t first_buffer = 16U << 10U;
constexpr size_t longest_entry = 16U << 20U; // a group is as long as its list of members
constexpr int groups_limit = 65536;          // of one user: NGROUPS_MAX, limits.h

// Calls one of the functions that want a buffer for the entry's strings: of errno's kind is what it returns. The
// strings lie in `buffer`.
template <class Entry, class Ask>
Result<Entry *> look_entry_up(Entry &entry, std::vector<char> &buffer, const Ask &ask) {
    Entry *found = nullptr;
    int code = 0;
    for (size_t size = first_buffer; size <= longest_entry; size *= 4) {
        buffer.resize(size);
        do
            code = ask(&entry, buffer.data(), buffer.size(), &found);
        while (code == EINTR);
        if (code == 0)
            return found;
        if (code != ERANGE)
            break;
    }
    return fail(code, "the user database");
}

template <class Ask> Result<std::optional<User>> find_entry(const Ask &ask) {
    std::vector<char> buffer;
    passwd entry{};
    const auto *found = TRY(look_entry_up(entry, buffer, ask));
    if (found == nullptr)
        return std::nullopt;
    return User{.uid = found->pw_uid,
                .gid = found->pw_gid,
                .name = found->pw_name,
                .home = found->pw_dir,
                .shell = *found->pw_shell == '\0' ? "/bin/sh" : found->pw_shell}; // passwd(5)
}

} // namespace

Result<std::optional<User>> find_user(uid_t uid) {
    return TRY_IN(find_entry([uid](auto... rest) { return ::getpwuid_r(uid, rest...); }), "user {} cannot be looked up",
                  uid);
}

Result<std::optional<User>> find_user(const std::string &name) {
    if (name.find('\0') != std::string::npos)
        return std::nullopt;
    return TRY_IN(find_entry([&](auto... rest) { return ::getpwnam_r(name.c_str(), rest...); }),
                  "user {} cannot be looked up", name);
}

Result<User> user_of(uid_t uid) {
    auto user = TRY(find_user(uid));
    if (!user)
        return fail(ENOENT, "user {} is not known to this machine", uid);
    return std::move(*user);
}

Result<std::vector<gid_t>> groups_of(const std::string &user, gid_t primary) {
    int count = 64;
    std::vector<gid_t> groups(static_cast<size_t>(count));
    while (::getgrouplist(user.c_str(), primary, groups.data(), &count) < 0) {
        if (count > groups_limit || static_cast<size_t>(count) <= groups.size())
            return fail(EINVAL, "the groups of user {} cannot be listed", user);
        groups.resize(static_cast<size_t>(count));
    }
    groups.resize(static_cast<size_t>(count));
    return groups;
}

Result<std::optional<std::string>> group_name(gid_t gid) {
    std::vector<char> buffer;
    group entry{};
    const auto *found = TRY_IN(look_entry_up(entry, buffer,
                                             [gid](auto *into, auto *space, auto size, auto *result) {
                                                 return ::getgrgid_r(gid, into, space, size, result);
                                             }),
                               "group {} cannot be looked up", gid);
    if (found == nullptr)
        return std::nullopt;
    return std::string(found->gr_name);
}

} // namespace abey::os
