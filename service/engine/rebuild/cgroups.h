// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The cgroups below the session's own that its tasks were in (cgroups(7), version 2).
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"

#include <map>

namespace abey::rebuild {

// What was made, unmade again on destruction unless it is to stay.
class Cgroups {
  public:
    Cgroups() = default;
    Cgroups(const Cgroups &) = delete;
    Cgroups &operator=(const Cgroups &) = delete;
    ~Cgroups();

    // Moves each task that was in a cgroup below into one of that name below `own`, the directory of the worker's.
    // `pids`: the tasks' ids by what they are to themselves.
    Result<> place(const std::string &own, const model::Tree &tree, const std::map<int, int> &pids);
    void keep() { made_.clear(); }

  private:
    Result<> make(const std::string &own, const std::string &below);
    std::vector<std::string> made_; // the outer before the inner
};

} // namespace abey::rebuild
