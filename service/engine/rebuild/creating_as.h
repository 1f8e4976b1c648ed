// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/namespace.h"

#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace abey::rebuild {

// Who makes a file must have a name in the user namespace of the file system (fs/namei.c, may_create).
class CreatingAs {
  public:
    explicit CreatingAs(const model::Namespace *users) {
        if (users == nullptr || users->uids.empty() || users->gids.empty())
            return;
        bits_ = ::prctl(PR_GET_SECUREBITS);
        ::prctl(PR_SET_SECUREBITS, static_cast<unsigned long>(bits_) | SECBIT_NO_SETUID_FIXUP); // keeps capabilities
        ::setfsgid(users->gids.front().outside);
        ::setfsuid(users->uids.front().outside);
    }
    CreatingAs(const CreatingAs &) = delete;
    CreatingAs &operator=(const CreatingAs &) = delete;
    ~CreatingAs() {
        if (bits_ < 0)
            return;
        ::setfsuid(::geteuid());
        ::setfsgid(::getegid());
        ::prctl(PR_SET_SECUREBITS, static_cast<unsigned long>(bits_));
    }

  private:
    int bits_ = -1;
};

} // namespace abey::rebuild
