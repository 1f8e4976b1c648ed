// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A process of ours in other namespaces: for those that a process cannot leave again (user_namespaces(7)).
#pragma once

#include "engine/os/fd.h"

namespace abey::os {

class Outpost {
  public:
    struct Orders {
        uint32_t user = 0;       // its effective user id, as we see it
        uint32_t group = 0;      // and group id
        int user_namespace = -1; // descriptor of the one that it enters; -1: it stays in ours
        int make = 0;            // CLONE_NEW* of what it makes there
    };
    // It waits there, and ends with this object and with us.
    static Result<Outpost> send(const Orders &orders);
    Outpost(Outpost &&other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
    Outpost &operator=(Outpost &&) = delete;
    Outpost(const Outpost &) = delete;
    Outpost &operator=(const Outpost &) = delete;
    ~Outpost();

    [[nodiscard]] int pid() const { return pid_; }

  private:
    explicit Outpost(int pid) : pid_(pid) {}
    int pid_;
};

// Writes a file as a process of a user namespace (-1: ours) with our user id does.
Result<> write_as_of(int user_namespace, const std::string &path, std::string_view text);

} // namespace abey::os
