// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <sys/types.h>

namespace abey::ctl {

// Asks for the passwords that polkit wants, on this terminal: a pkttyagent(1) that lives as long as this object. It
// steps back where the desktop has an agent of its own.
class PasswordAgent {
  public:
    // Returns when the agent is ready. Fails when there is no terminal or no pkttyagent.
    static Result<PasswordAgent> start();
    PasswordAgent(PasswordAgent &&other) noexcept : pid_(other.pid_) { other.pid_ = -1; }
    PasswordAgent &operator=(PasswordAgent &&) = delete;
    PasswordAgent(const PasswordAgent &) = delete;
    PasswordAgent &operator=(const PasswordAgent &) = delete;
    ~PasswordAgent();

  private:
    explicit PasswordAgent(pid_t pid) : pid_(pid) {}

    pid_t pid_;
};

} // namespace abey::ctl
