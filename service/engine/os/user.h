// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The user database (getpwuid_r(3), getpwnam_r(3), getgrgid_r(3), getgrouplist(3)). That somebody is not in it and that
// it could not be asked are two different answers: what holds for a user must not be taken for what holds for nobody.
#pragma once

#include "engine/os/result.h"

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace abey::os {

struct User {
    uid_t uid = 0;
    gid_t gid = 0;
    std::string name;
    std::string home;
    std::string shell;
};

// Nothing: there is no such user. An error: the database could not be asked.
Result<std::optional<User>> find_user(uid_t uid);
Result<std::optional<User>> find_user(const std::string &name);

// ENOENT: there is no such user.
Result<User> user_of(uid_t uid);

// All that the user is in, the primary one too.
Result<std::vector<gid_t>> groups_of(const std::string &user, gid_t primary);

// Nothing: the group has no name.
Result<std::optional<std::string>> group_name(gid_t gid);

} // namespace abey::os
