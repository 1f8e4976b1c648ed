// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A place where a name is free that is taken where it belongs. The kernel shows a file without a name by what its names
// and those of the directories above it were, up to the top of the mount that it was opened through (d_path() in
// fs/d_path.c). So the whole path is made once more below a directory of our own beside what has the name, and opened
// through a mount whose top is that directory: a clone that is attached nowhere (open_tree(2)), which lasts as long as
// the open file. What has the name now is not touched, and nobody else can reach what is made.
#pragma once

#include "engine/os/fd.h"

#include <string>
#include <vector>

namespace abey::files {

class Stage {
  public:
    // In `directory`; `path` is the absolute one that is to be shown. An error: not possible here (a file system that
    // takes no directories of root's, mounts that may not be cloned).
    static Result<Stage> make(const Fd &directory, const std::string &path);

    Stage(Stage &&) = default;
    Stage &operator=(Stage &&) = delete;
    Stage(const Stage &) = delete;
    Stage &operator=(const Stage &) = delete;
    ~Stage(); // the directories go; what was opened stays

    // Where the path's last part belongs: for links to files that were opened through the ordinary mount.
    [[nodiscard]] const Fd &directory() const { return directory_; }
    // The same directory through the mount of its own.
    [[nodiscard]] const Fd &seen() const { return seen_; }

  private:
    Stage() = default;
    struct Made {
        Fd above;
        std::string name;
    };
    std::vector<Made> made_;
    Fd directory_, seen_;
};

} // namespace abey::files
