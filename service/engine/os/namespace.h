// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Being in another namespace for a while (setns(2)).
#pragma once

#include "engine/os/fd.h"

namespace abey::os {

// CLONE_NEW* of the name that a namespace has in /proc/PID/ns; 0: none.
int namespace_flag(std::string_view name);

// The calling thread is in another namespace until this goes. For namespaces that a thread can leave again: uts, ipc,
// net, cgroup.
class Inside {
  public:
    static Result<Inside> of(const Fd &there, std::string_view name);
    // A new one, which is there as long as somebody holds it.
    static Result<Inside> of_new(std::string_view name);
    Inside(Inside &&) noexcept = default;
    Inside &operator=(Inside &&) = delete;
    Inside(const Inside &) = delete;
    Inside &operator=(const Inside &) = delete;
    ~Inside();

    // The namespace in which we are.
    [[nodiscard]] Result<Fd> file() const;

  private:
    Inside(Fd before, std::string_view name) : before_(std::move(before)), name_(name) {}
    Fd before_;
    std::string name_;
};

} // namespace abey::os
