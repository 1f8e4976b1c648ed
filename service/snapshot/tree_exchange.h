// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A home changes places with a copy of another state of it, which lies in the incoming/ of its area (area.h,
// tree_states.h), in one rename(2) (RENAME_EXCHANGE), or in three where the file system cannot do that (NILFS2). What
// lies there is named so that whoever comes after a kill at any moment knows what it is.
#pragma once

#include "snapshot/area.h"
#include "snapshot/btrfs.h"

#include <string>

#include <sys/stat.h>

namespace abey::snapshot {

// An inode's number, as names of incoming/ and records tell which state of a home is meant.
std::string number_of(const struct stat &status);

class HomeExchange {
  public:
    HomeExchange(const std::string &home, StepDone step_done);

    [[nodiscard]] const std::string &incoming_path() const { return incoming_path_; }

    // The home and what lies in incoming/ under this name.
    [[nodiscard]] Result<> exchange(const Area &area, const std::string &incoming) const;

    // A copy of ours in incoming/, which may have been the home for a while: goes, or to displaced/ when somebody has
    // changed files in it. Its name ends in the id of the state that it is a copy of.
    [[nodiscard]] Result<> retire(const Area &area, const std::string &incoming) const;

    // Finishes or takes back what a killed roll-back has left.
    [[nodiscard]] Result<> clean(const Area &area) const;

  private:
    void done(std::string_view step) const {
        if (step_done_)
            step_done_(step);
    }

    std::string home_, name_, incoming_path_;
    StepDone step_done_;
};

} // namespace abey::snapshot
