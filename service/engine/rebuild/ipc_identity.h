// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What it takes to make an object of System V IPC (sysvipc(7)) that is the old one to its users.
#pragma once

#include "engine/os/result.h"

namespace abey::rebuild {

// Acts as the creator while an object is made: who that was cannot be set afterwards.
class AsCreator {
  public:
    AsCreator(uint32_t uid, uint32_t gid);
    AsCreator(const AsCreator &) = delete;
    AsCreator &operator=(const AsCreator &) = delete;
    ~AsCreator();
    [[nodiscard]] bool failed() const { return failed_; }

  private:
    bool changed_ = false, failed_ = false;
};

// The identifier that the next "shm", "sem" or "msg" gets, when it is free (/proc/sys/kernel/shm_next_id etc.,
// kernel.org, sysctl/kernel.rst). Only root may.
Result<> choose_next_id(const char *kind, int identifier);

} // namespace abey::rebuild
