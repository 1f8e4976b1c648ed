// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/subject.h"

#include "engine/os/user.h"

#include <fmt/format.h>

namespace abey::policy {

Result<Subject> subject_of(uid_t uid) {
    const auto user = TRY(os::find_user(uid));
    if (!user)
        return Subject{.user = fmt::format("{}", uid)};
    Subject subject{.user = user->name};
    for (const auto gid : TRY(os::groups_of(user->name, user->gid)))
        subject.groups.push_back(TRY(os::group_name(gid)).value_or(fmt::format("{}", gid)));
    return subject;
}

Result<Subject> subject_of(uid_t uid, const std::string &session, const std::string &service, const std::string &tty) {
    auto subject = TRY(subject_of(uid));
    subject.is_session = true;
    subject.service = service;
    subject.tty = tty;
    if (const auto slash = session.find('/'); slash != std::string::npos)
        subject.unit = session.substr(slash + 1);
    return subject;
}

} // namespace abey::policy
