// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/subject.h"

#include <fmt/format.h>

#include <grp.h>
#include <pwd.h>

namespace abey::policy {
namespace {

constexpr size_t buffer_size = 64U << 10U;
constexpr int group_limit = 65536; // of one user: NGROUPS_MAX, limits.h

std::string group_name(gid_t gid) {
    std::vector<char> buffer(buffer_size);
    group entry{};
    group *found = nullptr;
    if (::getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
        return fmt::format("{}", gid);
    return found->gr_name;
}

} // namespace

Subject subject_of(uid_t uid) {
    std::vector<char> buffer(buffer_size);
    passwd entry{};
    passwd *found = nullptr;
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
        return {.user = fmt::format("{}", uid)};
    Subject subject{.user = found->pw_name};
    int count = 0;
    (void)::getgrouplist(found->pw_name, found->pw_gid, nullptr, &count);
    if (count <= 0 || count > group_limit)
        return subject;
    std::vector<gid_t> groups(static_cast<size_t>(count));
    if (::getgrouplist(found->pw_name, found->pw_gid, groups.data(), &count) < 0)
        return subject;
    groups.resize(static_cast<size_t>(count));
    for (const auto gid : groups)
        subject.groups.push_back(group_name(gid));
    return subject;
}

Subject subject_of(uid_t uid, const std::string &session, const std::string &service, const std::string &tty) {
    auto subject = subject_of(uid);
    subject.is_session = true;
    subject.service = service;
    subject.tty = tty;
    if (const auto slash = session.find('/'); slash != std::string::npos)
        subject.unit = session.substr(slash + 1);
    return subject;
}

} // namespace abey::policy
