// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The cgroups below the session's own that its tasks were in (cgroups(7), version 2).
#pragma once

#include "engine/model/tree.h"
#include "engine/os/fd.h"
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

    // Makes the cgroups below `own`, the directory of the worker's, with their settings and owners, and moves each task
    // to where it was. `pids`: the tasks' ids by what they are to themselves.
    Result<> place(const std::string &own, const model::Tree &tree, const std::map<int, int> &pids);
    // Moves a thread to a cgroup of its own (threaded mode), and to where it was in hierarchies without controllers,
    // which are made again when they have gone.
    Result<> place_thread(const model::Thread &saved, int tid);
    void keep() {
        made_.clear();
        enabled_.clear();
        made_named_.clear();
    }

  private:
    Result<const Fd *> hierarchy(const std::string &name);
    Result<> make(const std::string &own, const std::string &below);
    Result<> make_all(const model::Tree &tree);
    std::string own_;
    std::vector<std::string> made_;                               // the outer before the inner
    std::vector<std::string> enabled_;                            // controllers in our own cgroup
    std::map<std::string, Fd> hierarchies_;                       // their top directories, by name
    std::vector<std::pair<std::string, std::string>> made_named_; // hierarchy and path, the outer before the inner
};

} // namespace abey::rebuild
