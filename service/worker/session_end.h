// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The last steps of a suspend: the processes are gone, and the login goes after them.
#pragma once

#include "dbus/bus.h"
#include "engine/os/result.h"
#include "session/logind.h"

#include <cstdint>
#include <string>

namespace abey::worker {

// Waits until logind has let go of a session. A frontend logs the user out when it sees its child exit; one that does
// not within a few seconds is ended by logind.
class SessionEnd {
  public:
    explicit SessionEnd(const session::Session &session) : session_(session) {}
    SessionEnd(const SessionEnd &) = delete;
    SessionEnd &operator=(const SessionEnd &) = delete;
    ~SessionEnd() = default;

    // Before anything ends, so that no signal is missed.
    Result<> prepare();
    Result<> wait();

  private:
    static int on_removed(sd_bus_message *message, void *userdata, sd_bus_error *error);
    // True when it is gone.
    Result<bool> wait_for(uint64_t microseconds);

    const session::Session &session_;
    bus::Bus bus_;
    bool gone_ = false;
};

// A mark in /run: the processes of this job's session are being ended. Whoever finds it after the worker's death goes
// on ending them: the checkpoint is durable. Prepared while there is a way back, so that marking cannot fail.
Result<> prepare_mark(uint32_t job);
void mark_ending(uint32_t job) noexcept;
bool is_marked_ending(uint32_t job) noexcept;
void clear_mark(uint32_t job) noexcept;

} // namespace abey::worker
